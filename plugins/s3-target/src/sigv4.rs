//! AWS Signature Version 4 in the `Authorization` header, as "Authenticating Requests: Using the Authorization Header" of
//! the Amazon S3 API Reference documents it.

use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

#[derive(Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

/// What is signed. Header names are lower case.
pub struct Canonical<'a> {
    pub method: &'a str,
    /// Encoded, with the first slash.
    pub path: &'a str,
    /// Encoded and sorted.
    pub query: &'a str,
    /// All that are signed, `host` and `x-amz-date` among them.
    pub headers: &'a [(String, String)],
    /// SHA-256 of the body in hexadecimal.
    pub payload: &'a str,
}

pub struct Scope<'a> {
    /// `20130524T000000Z`
    pub stamp: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

/// The value of the `Authorization` header.
pub fn authorization(credentials: &Credentials, scope: &Scope, request: &Canonical) -> String {
    let mut headers: Vec<(&str, String)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), trimmed(value))).collect();
    headers.sort();
    let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical =
        [request.method, request.path, request.query, &lines, &signed, request.payload].join("\n");
    let date = scope.stamp.get(..8).unwrap_or(scope.stamp);
    let scoped = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("{ALGORITHM}\n{}\n{scoped}\n{}", scope.stamp, sha256_hex(canonical.as_bytes()));
    let key = signing_key(&credentials.secret_key, date, scope.region, scope.service);
    let signature = hex(&hmac(&key, to_sign.as_bytes()));
    format!(
        "{ALGORITHM} Credential={}/{scoped},SignedHeaders={signed},Signature={signature}",
        credentials.access_key
    )
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let start = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    [region, service, "aws4_request"].iter().fold(start, |key, part| hmac(&key, part.as_bytes()))
}

/// Without spaces at its ends, and one where several stood.
fn trimmed(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let hashed: [u8; 32];
    let key = if key.len() > BLOCK {
        hashed = Sha256::digest(key).into();
        &hashed[..]
    } else {
        key
    };
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4231_hmac() {
        // Test case 2, and test case 6 with a key that is longer than a block.
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn aws_general_reference_signing_key() {
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam");
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn aws_sig_v4_test_suite_get_vanilla() {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let scope = Scope { stamp: "20150830T123600Z", region: "us-east-1", service: "service" };
        let headers =
            [("host".into(), "example.amazonaws.com".into()), ("x-amz-date".into(), scope.stamp.into())];
        let empty = sha256_hex(b"");
        let request = Canonical { method: "GET", path: "/", query: "", headers: &headers, payload: &empty };
        assert_eq!(
            authorization(&credentials, &scope, &request),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,\
             SignedHeaders=host;x-amz-date,\
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    /// An example of the Amazon S3 API Reference, "Signature Calculations for the Authorization Header".
    fn s3_example(
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        more: &[(&str, &str)],
        body: &[u8],
    ) -> String {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let scope = Scope { stamp: "20130524T000000Z", region: "us-east-1", service: "s3" };
        let payload = sha256_hex(body);
        let fixed = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", payload.as_str()),
            ("x-amz-date", scope.stamp),
        ];
        let headers: Vec<(String, String)> =
            fixed.iter().chain(more).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let request = Canonical {
            method,
            path: &crate::encode::path(path),
            query: &crate::encode::query(query),
            headers: &headers,
            payload: &payload,
        };
        let whole = authorization(&credentials, &scope, &request);
        whole.split("Signature=").last().unwrap().to_string()
    }

    #[test]
    fn amazon_s3_example_get_object() {
        assert_eq!(
            s3_example("GET", "/test.txt", &[], &[("range", "bytes=0-9")], b""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn amazon_s3_example_put_object() {
        let more = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        assert_eq!(
            s3_example("PUT", "/test$file.text", &[], &more, b"Welcome to Amazon S3."),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn amazon_s3_example_get_bucket_lifecycle() {
        assert_eq!(
            s3_example("GET", "/", &[("lifecycle", "")], &[], b""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
    }

    #[test]
    fn amazon_s3_example_list_objects() {
        assert_eq!(
            s3_example("GET", "/", &[("prefix", "J"), ("max-keys", "2")], &[], b""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn header_values_are_trimmed() {
        assert_eq!(trimmed("  a   b  c "), "a b c");
    }
}
