//! What stands in the XML of S3's answers.

use crate::xml::{Event, Reader};

/// A page of ListObjectsV2.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and their sizes in bytes.
    pub objects: Vec<(String, u64)>,
    /// How to ask for the next page; none on the last one.
    pub next: Option<String>,
}

pub fn page(body: &[u8]) -> Result<Page, String> {
    let mut page = Page::default();
    let (mut key, mut size, mut next, mut truncated) = (None, None, None, None);
    walk(body, "ListBucketResult", |path, text| {
        match (path, text) {
            (["Contents", "Key"], Some(text)) => key = Some(text.to_string()),
            (["Contents", "Size"], Some(text)) => {
                size = Some(text.parse().map_err(|_| "a size is no number of bytes".to_string())?);
            }
            (["Contents"], None) => {
                let pair = key.take().zip(size.take()).ok_or("an object lacks its key or its size")?;
                page.objects.push(pair);
            }
            (["NextContinuationToken"], Some(text)) => next = Some(text.to_string()),
            (["IsTruncated"], Some(text)) => {
                truncated =
                    Some(text.parse::<bool>().map_err(|_| "`IsTruncated` is neither true nor false")?);
            }
            _ => {}
        }
        Ok(())
    })?;
    page.next = match (truncated, next) {
        (Some(true), None) => return Err("it is truncated, but says not how it goes on".into()),
        (Some(true), next) => next,
        (Some(false), _) => None,
        (None, _) => return Err("it says not whether it is truncated".into()),
    };
    Ok(page)
}

pub fn upload_id(body: &[u8]) -> Result<String, String> {
    let mut id = None;
    walk(body, "InitiateMultipartUploadResult", |path, text| {
        if let (["UploadId"], Some(text)) = (path, text) {
            id = Some(text.to_string());
        }
        Ok(())
    })?;
    id.ok_or_else(|| "it names no upload".into())
}

/// Whether a multipart upload was completed: S3 may answer 200 and only then fail.
pub fn is_completed(body: &[u8]) -> bool {
    walk(body, "CompleteMultipartUploadResult", |_, _| Ok(())).is_ok()
}

/// Code and message of an error, if it is one.
pub fn error(body: &[u8]) -> Option<(String, String)> {
    let (mut code, mut message) = (None, String::new());
    walk(body, "Error", |path, text| {
        match (path, text) {
            (["Code"], Some(text)) => code = Some(text.to_string()),
            (["Message"], Some(text)) => message = text.to_string(),
            _ => {}
        }
        Ok(())
    })
    .ok()?;
    code.map(|code| (code, message))
}

/// Calls `visit` with the path below the root: with the text of each element that has one, and without at its end.
fn walk(
    body: &[u8],
    root: &str,
    mut visit: impl FnMut(&[&str], Option<&str>) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = Reader::new(body)?;
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    while let Some(event) = reader.next()? {
        match event {
            Event::Start(name) => {
                if path.is_empty() && name != root {
                    return Err(format!("its root is not `{root}`"));
                }
                path.push(name);
                text.clear();
            }
            Event::Text(more) => text.push_str(&more),
            Event::End(_) => {
                let below: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
                if !text.is_empty() {
                    visit(&below, Some(&text))?;
                }
                visit(&below, None)?;
                text.clear();
                path.pop();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(inside: &str) -> Result<Page, String> {
        page(
            format!("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"s3\">{inside}</ListBucketResult>")
                .as_bytes(),
        )
    }

    #[test]
    fn pages() {
        let page = listed(
            "<Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;</NextContinuationToken>\
             <Contents><Key>a &lt;b</Key><Size>7</Size><Owner><ID>x</ID></Owner></Contents>\
             <Contents><Size>18446744073709551615</Size><Key>c</Key></Contents>",
        );
        let want =
            Page { objects: vec![("a <b".into(), 7), ("c".into(), u64::MAX)], next: Some("t&".into()) };
        assert_eq!(page, Ok(want));
        assert_eq!(listed("<IsTruncated>false</IsTruncated>"), Ok(Page::default()));
    }

    #[test]
    fn pages_that_are_wrong() {
        for (inside, words) in [
            ("", "whether it is truncated"),
            ("<IsTruncated>true</IsTruncated>", "how it goes on"),
            ("<IsTruncated>yes</IsTruncated>", "neither"),
            ("<IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents>", "lacks"),
            ("<Contents><Key>a</Key><Size>-1</Size></Contents>", "no number"),
            ("<Contents><Key>a</Key><Size>18446744073709551616</Size></Contents>", "no number"),
        ] {
            let error = listed(inside).unwrap_err();
            assert!(error.contains(words), "{inside}: {error}");
        }
        assert!(page(b"<Error/>").unwrap_err().contains("root"));
    }

    #[test]
    fn uploads() {
        let body = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(upload_id(body).unwrap(), "u");
        assert!(upload_id(b"<InitiateMultipartUploadResult/>").is_err());
        assert!(is_completed(
            b"  <CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
        ));
        let failed = b"<Error><Code>InternalError</Code><Message>again</Message></Error>";
        assert!(!is_completed(failed));
        assert!(!is_completed(b""));
        assert_eq!(error(failed).unwrap(), ("InternalError".into(), "again".into()));
        assert_eq!(error(b"<html>"), None);
    }
}
