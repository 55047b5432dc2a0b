//! What the target promises, kept by a real server.

use crate::server::Server;
use s3_target::client::{Client, Transport};
use s3_target::error::Error;
use std::rc::Rc;

const PART: usize = 5 << 20;

/// Bytes that are not the same in any two parts.
fn content(length: usize) -> Vec<u8> {
    (0_u32..).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).take(length).collect()
}

fn put<T: Transport>(client: &Rc<Client<T>>, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut upload = client.put(name, bytes.len() as u64)?;
    for chunk in bytes.chunks(1_000_000) {
        upload.write(chunk)?;
    }
    upload.finish()
}

fn names<T: Transport>(client: &Client<T>, prefix: &str, after: Option<&str>, limit: u32) -> Vec<String> {
    client.list(prefix, after, limit).unwrap().into_iter().map(|b| b.name).collect()
}

#[test]
fn blobs_come_back() {
    let server = Server::start("blobs");
    let client = server.client();
    assert_eq!(client.stat("config").unwrap(), None);
    assert!(matches!(client.get("config", 0, 9), Err(Error::NotFound(s)) if s.contains("NoSuchKey")));
    put(&client, "config", b"0123456789").unwrap();
    assert_eq!(client.stat("config").unwrap().unwrap().size, 10);
    for (offset, length, want) in [
        (0, 10, "0123456789"),
        (0, 3, "012"),
        (3, 4, "3456"),
        (8, 9, "89"),
        (10, 1, ""),
        (99, 1, ""),
        (0, 0, ""),
    ] {
        assert_eq!(client.get("config", offset, length).unwrap(), want.as_bytes(), "{offset} {length}");
    }
    // Written once: the same content is no change, another is refused.
    put(&client, "config", b"0123456789").unwrap();
    assert!(matches!(put(&client, "config", b"0123456780"), Err(Error::Conflict(_))));
    assert!(matches!(put(&client, "config", b"012345678"), Err(Error::Conflict(_))));
    assert_eq!(client.get("config", 0, 99).unwrap(), b"0123456789");
    put(&client, "empty", b"").unwrap();
    assert_eq!(client.stat("empty").unwrap().unwrap().size, 0);
    client.delete("config").unwrap();
    client.delete("config").unwrap();
    assert_eq!(client.stat("config").unwrap(), None);
    assert_eq!(names(&client, "", None, 10), ["empty"]);
}

#[test]
fn what_is_larger_than_a_part_goes_in_parts() {
    let server = Server::start("parts");
    let client = server.client();
    for length in [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 7] {
        let (name, bytes) = (format!("data/{length}"), content(length));
        let mut upload = client.put(&name, length as u64).unwrap();
        for chunk in bytes.chunks(1 << 20) {
            upload.write(chunk).unwrap();
        }
        // A whole part is on the server before the end, or nothing is.
        assert_eq!(server.parts() > 0, length > PART, "{length}");
        assert_eq!(client.stat(&name).unwrap(), None, "{length} is seen before its end");
        upload.finish().unwrap();
        assert_eq!(server.parts(), 0, "{length}");
        assert_eq!(client.stat(&name).unwrap().unwrap().size, length as u64);
        assert!(client.get(&name, 0, length as u32).unwrap() == bytes, "{length}");
        let across = (PART - 3) as u64;
        assert_eq!(client.get(&name, across, 8).unwrap(), bytes[PART - 3..length.min(PART + 5)]);
        put(&client, &name, &bytes).unwrap();
        let mut other = bytes;
        *other.last_mut().unwrap() ^= 1;
        assert!(matches!(put(&client, &name, &other), Err(Error::Conflict(_))));
    }
}

#[test]
fn an_upload_that_does_not_end_leaves_no_parts() {
    let server = Server::start("aborts");
    let client = server.client();
    let bytes = content(2 * PART);
    let begin = || {
        let mut upload = client.put("data/x", 2 * PART as u64).unwrap();
        upload.write(&bytes[..PART + 1]).unwrap();
        assert!(server.parts() > 0);
        upload
    };
    drop(begin());
    assert_eq!(server.parts(), 0);
    let mut short = begin();
    assert!(short.finish().unwrap_err().sentence().contains("5242881 came"));
    assert_eq!(server.parts(), 0);
    assert!(short.write(b"x").unwrap_err().sentence().contains("is over"));
    let mut long = begin();
    assert!(long.write(&bytes).unwrap_err().sentence().contains("more came"));
    assert_eq!(server.parts(), 0);
    assert_eq!(client.stat("data/x").unwrap(), None);
}

#[test]
fn names_with_every_character_that_is_encoded() {
    let server = Server::start("names");
    let client = server.client();
    let plain = ('!'..='~').filter(|c| *c != '/').map(|c| format!("x{c}y"));
    let mut wanted: Vec<String> = plain
        .chain(["a b", "+ +", "é/ü", "日本", "🦀", "%2F", "a&lt;b", "..a/b.."].map(String::from))
        .collect();
    for name in &wanted {
        put(&client, name, name.as_bytes()).unwrap();
    }
    wanted.sort();
    assert_eq!(names(&client, "", None, 1_000), wanted);
    for name in &wanted {
        assert_eq!(client.get(name, 0, 99).unwrap(), name.as_bytes());
        assert_eq!(names(&client, name, None, 1), [name.as_str()]);
        client.delete(name).unwrap();
    }
    assert_eq!(names(&client, "", None, 1), [""; 0]);
    for name in ["", "a//b", "../x", "a/..", "a\n"] {
        assert!(matches!(client.stat(name), Err(Error::Invalid(_))), "{name:?}");
    }
}

#[test]
fn lists_go_over_pages() {
    let server = Server::start("lists");
    let client = server.client();
    let wanted: Vec<String> = (0..1_100).map(|i| format!("data/{:02x}/{i:04}", i % 7)).collect();
    for name in &wanted {
        put(&client, name, b"x").unwrap();
    }
    let mut wanted = wanted;
    wanted.sort();
    put(&client, "locks/1", b"x").unwrap();
    assert_eq!(names(&client, "data/", None, 2_000), wanted);
    assert_eq!(names(&client, "data/", None, 1_000), wanted[..1_000]);
    assert_eq!(names(&client, "data/", None, 1_001), wanted[..1_001]);
    assert_eq!(names(&client, "data/", Some(&wanted[1_098]), 9), wanted[1_099..]);
    assert_eq!(names(&client, "data/", Some(&wanted[1_099]), 9), [""; 0]);
    assert_eq!(names(&client, "", None, 2_000).len(), 1_101);
    assert_eq!(names(&client, "", None, 0), [""; 0]);
    assert!(client.list("", None, 10_000).is_ok());
    assert!(matches!(client.list("", None, 10_001), Err(Error::Limit(_))));
}

#[test]
fn refusals_are_told_apart() {
    let server = Server::start("refusals");
    let wrong = server.client_of(server.config(5), "another-secret");
    for error in [
        put(&wrong, "config", b"x").unwrap_err(),
        wrong.get("config", 0, 1).unwrap_err(),
        wrong.list("", None, 1).unwrap_err(),
        wrong.delete("config").unwrap_err(),
    ] {
        assert!(matches!(error, Error::Denied(_)), "{error:?}");
    }
    let told = wrong.list("", None, 1).unwrap_err();
    assert!(told.sentence().contains("SignatureDoesNotMatch"), "{told:?}");
    assert_eq!(names(&server.client(), "", None, 9), [""; 0]);

    let mut config = server.config(5);
    config.bucket_path = "/no-such-bucket".into();
    let missing = server.client_of(config, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    for error in [
        put(&missing, "config", b"x").unwrap_err(),
        put(&missing, "data/x", &content(PART + 1)).unwrap_err(),
        missing.list("", None, 1).unwrap_err(),
        missing.delete("config").unwrap_err(),
    ] {
        assert!(matches!(&error, Error::NotFound(s) if s.contains("NoSuchBucket")), "{error:?}");
    }
}

#[test]
fn a_server_that_dies_in_an_upload() {
    let mut server = Server::start("dies");
    let bytes = content(2 * PART);
    {
        let client = server.client();
        let mut upload = client.put("data/x", 2 * PART as u64).unwrap();
        upload.write(&bytes[..PART]).unwrap();
        server.kill();
        let error = upload.write(&bytes[PART..]).unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert!(upload.finish().is_err());
    }
    server.restart();
    let client = server.client();
    assert_eq!(client.stat("data/x").unwrap(), None);
    assert_eq!(names(&client, "", None, 9), [""; 0]);
    put(&client, "data/x", &bytes).unwrap();
    assert!(client.get("data/x", 0, 2 * PART as u32).unwrap() == bytes);
}
