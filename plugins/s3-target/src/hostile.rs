//! Servers that answer wrongly, on purpose or not.

use crate::client::{Client, Request, Response, Transport};
use crate::config::Config;
use crate::error::Error;
use crate::sigv4::Credentials;
use std::cell::RefCell;
use std::rc::Rc;

type Answer = (u16, &'static [(&'static str, &'static str)], String);

/// Answers by a function of the request and of how many there were before it.
struct Scripted<F> {
    answer: F,
    seen: RefCell<Vec<String>>,
}

impl<F: Fn(&Request, usize) -> Answer> Transport for &Scripted<F> {
    fn send(&self, request: Request) -> Result<Response, Error> {
        assert!(self.seen.borrow().len() < 100, "it asks for ever");
        let (status, headers, body) = (self.answer)(&request, self.seen.borrow().len());
        self.seen.borrow_mut().push(format!("{} {}", request.method, request.url));
        let headers = headers.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Ok(Response { status, headers, body: body.into_bytes() })
    }

    fn now(&self) -> i64 {
        1_369_353_600_000_000_000
    }
}

fn scripted<F: Fn(&Request, usize) -> Answer>(answer: F) -> Scripted<F> {
    Scripted { answer, seen: RefCell::default() }
}

fn client<T: Transport>(transport: T) -> Rc<Client<T>> {
    let config = Config::parse(
        r#"{"endpoint":"https://s3.example.com","bucket":"backups","region":"r","prefix":"repo","part_mib":5,
        "style":"virtual","access_key":"a","secret_key":"s"}"#,
    )
    .unwrap();
    let credentials =
        Credentials { access_key: "a".into(), secret_key: "s".into(), session_token: Some("token".into()) };
    Rc::new(Client::new(config, credentials, transport))
}

fn page(keys: &[&str], next: Option<&str>) -> String {
    let objects: String =
        keys.iter().map(|k| format!("<Contents><Key>{k}</Key><Size>1</Size></Contents>")).collect();
    let next = next.map_or("<IsTruncated>false</IsTruncated>".into(), |t| {
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{t}</NextContinuationToken>")
    });
    format!("<ListBucketResult>{next}{objects}</ListBucketResult>")
}

#[test]
fn the_url_and_the_headers() {
    let server = scripted(|request: &Request, _| {
        let names: Vec<&str> = request.headers.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token", "authorization"]);
        let signed = &request.headers[3].1;
        assert!(signed.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
        (200, &[("Content-Length", "7")], String::new())
    });
    assert_eq!(client(&server).stat("keys/a b").unwrap().unwrap().size, 7);
    assert_eq!(*server.seen.borrow(), ["HEAD https://backups.s3.example.com/repo/keys/a%20b"]);
}

#[test]
fn a_list_that_never_ends_is_left() {
    for (same, words) in [
        (page(&["repo/a"], Some("t")), "not in order"),
        (page(&[], Some("t")), "page after page is empty"),
        (page(&["repo/b", "repo/a"], None), "not in order"),
        (page(&["other/a"], None), "not under the prefix"),
        ("<ListBucketResult>".into(), "ends too early"),
        (String::new(), "ends too early"),
    ] {
        let server = scripted(|_: &Request, _| (200, &[], same.clone()));
        let error = client(&server).list("", None, 1_000).unwrap_err();
        assert!(matches!(&error, Error::Invalid(s) if s.contains(words)), "{same}: {error:?}");
    }
    // Sixteen empty pages may come, more than was asked for is cut, and what a console calls a folder is no blob.
    let server = scripted(|_: &Request, n| {
        (200, &[], if n < 16 { page(&[], Some("t")) } else { page(&["repo/", "repo/a", "repo/b"], None) })
    });
    let found = client(&server).list("", None, 1).unwrap();
    assert_eq!((found.len(), found[0].name.as_str()), (1, "a"));
}

#[test]
fn ranges_that_were_not_asked_for() {
    let get = |status, headers: &'static [(&'static str, &'static str)], body: &str| {
        let server = scripted(|_: &Request, _| (status, headers, body.to_string()));
        client(&server).get("a", 2, 3)
    };
    assert_eq!(get(206, &[("Content-Range", "bytes 2-4/9")], "234").unwrap(), b"234");
    for (status, headers, body) in [
        (206, &[("content-range", "bytes 1-3/9")][..], "123"),
        (206, &[("content-range", "bytes 2-5/9")], "2345"),
        (206, &[], "234"),
        (200, &[], "012"),
    ] {
        assert!(matches!(get(status, headers, body), Err(Error::Invalid(_))), "{headers:?} {body}");
    }
}

#[test]
fn a_completion_that_fails_behind_a_200_is_an_error_and_is_aborted() {
    let failed = "<Error><Code>InternalError</Code><Message>try again</Message></Error>";
    let server = scripted(|request: &Request, _| match (request.method, request.url.contains("uploads=")) {
        ("HEAD", _) => (404, &[], String::new()),
        ("POST", true) => (
            200,
            &[],
            "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>".into(),
        ),
        ("PUT", _) => (200, &[("ETag", "\"e\"")][..], String::new()),
        ("POST", false) => {
            assert!(
                request
                    .body
                    .starts_with(b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"e\"<")
            );
            (200, &[], failed.into())
        }
        _ => (204, &[], String::new()),
    });
    let bytes = vec![0; (5 << 20) + 1];
    let mut upload = client(&server).put("a", bytes.len() as u64).unwrap();
    upload.write(&bytes).unwrap();
    let error = upload.finish().unwrap_err();
    assert!(matches!(&error, Error::Unavailable(s) if s.contains("try again")), "{error:?}");
    drop(upload);
    let seen = server.seen.borrow();
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(seen[5], "DELETE https://backups.s3.example.com/repo/a?uploadId=u%2F1");
}

#[test]
fn more_parts_than_s3_takes_are_refused_before_anything_is_sent() {
    let most = crate::upload::PARTS_MAX * (5 << 20);
    let server = scripted(|request: &Request, _| match request.method {
        "HEAD" => (404, &[], String::new()),
        _ => (503, &[], String::new()),
    });
    let error = client(&server).put("a", most).err().unwrap();
    assert!(matches!(&error, Error::Unavailable(_)), "the largest is begun: {error:?}");
    let error = client(&server).put("a", most + 1).err().unwrap();
    assert!(matches!(&error, Error::Limit(s) if s.contains("larger `part_mib`")), "{error:?}");
    assert_eq!(server.seen.borrow().len(), 3);
}
