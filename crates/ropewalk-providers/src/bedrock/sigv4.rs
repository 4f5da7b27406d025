//! Signature Version 4 of AWS (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use ropewalk_core::{Error, ErrorKind, Result, async_trait};
use ropewalk_http::{Reply, Request, Transport};
use sha2::{Digest, Sha256};

use crate::settings::Settings;

/// Access keys of AWS. `Debug` prints the access key's id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    id: String,
    secret: String,
    session: Option<String>,
}

impl AwsCredentials {
    /// Creates credentials from the id (`AKIA…`, `ASIA…`) and the secret key.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
            session: None,
        }
    }

    /// Sets the token that goes with temporary credentials.
    #[must_use]
    pub fn with_session_token(mut self, token: impl Into<String>) -> Self {
        self.session = Some(token.into());
        self
    }

    /// Returns what must be in no output.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        [Some(self.secret.as_str()), self.session.as_deref()]
            .into_iter()
            .flatten()
    }

    /// Takes `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if set, `AWS_SESSION_TOKEN`.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Option<Self> {
        let id = settings.get("AWS_ACCESS_KEY_ID")?;
        let secret = settings.get("AWS_SECRET_ACCESS_KEY")?;
        let mut credentials = Self::new(id, secret);
        credentials.session = settings.get("AWS_SESSION_TOKEN").map(str::to_owned);
        Some(credentials)
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsCredentials({})", self.id)
    }
}

/// A transport that signs every request, each attempt anew, and hands it on.
pub struct SigV4Transport {
    inner: Arc<dyn Transport>,
    credentials: AwsCredentials,
    region: String,
    service: String,
}

impl SigV4Transport {
    /// Creates a transport for one service in one region.
    pub fn new(
        inner: Arc<dyn Transport>,
        credentials: AwsCredentials,
        region: impl Into<String>,
        service: impl Into<String>,
    ) -> Self {
        Self {
            inner,
            credentials,
            region: region.into(),
            service: service.into(),
        }
    }
}

impl fmt::Debug for SigV4Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigV4Transport")
            .field("credentials", &self.credentials)
            .field("region", &self.region)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for SigV4Transport {
    async fn send(&self, request: &Request) -> Result<Reply> {
        let scope = (self.region.as_str(), self.service.as_str());
        let signed = sign(request, &self.credentials, scope, SystemTime::now())?;
        self.inner.send(&signed).await
    }
}

/// Signs a request for a region and service at a time.
fn sign(
    request: &Request,
    credentials: &AwsCredentials,
    (region, service): (&str, &str),
    now: SystemTime,
) -> Result<Request> {
    let AwsCredentials {
        id,
        secret,
        session,
    } = credentials;
    let (date, time) = stamps(now);
    let mut signed = request
        .clone()
        .with_secret(secret.clone())
        .with_header("x-amz-date", &time)?;
    if let Some(token) = session {
        signed = signed.with_secret_header("x-amz-security-token", "", token)?;
    }
    let (host, path, query) = parts(&request.url)?;
    let mut headers: Vec<(&str, String)> = signed
        .headers
        .iter()
        .filter(|(name, _)| *name == "content-type" || name.as_str().starts_with("x-amz-"))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            let words: Vec<&str> = value.split_whitespace().collect();
            (name.as_str(), words.join(" "))
        })
        .collect();
    headers.push(("host", host.to_owned()));
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
    let mut query: Vec<&str> = query.split('&').filter(|q| !q.is_empty()).collect();
    query.sort_unstable();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        encoded_path(path),
        query.join("&"),
        hex(&Sha256::digest(&request.body)),
    );
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let digest = hex(&Sha256::digest(canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), &date)?;
    for step in [region, service, "aws4_request", &text] {
        key = hmac(&key, step)?;
    }
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={}",
        hex(&key)
    );
    signed.with_header("authorization", &value)
}

/// Cuts an address into host, path and query.
fn parts(url: &str) -> Result<(&str, &str, &str)> {
    let (_, rest) = url.split_once("://").ok_or_else(|| {
        let message = format!("{url:?} is no address with a scheme");
        Error::new(ErrorKind::Configuration, message)
    })?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..], query),
        None => (rest, "/", query),
    })
}

/// Encodes the path once more, as every service but S3 wants it.
fn encoded_path(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(percent_encoded).collect();
    segments.join("/")
}

/// Encodes every byte but letters, digits and `-._~`.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|e| Error::from_error(ErrorKind::Configuration, e))?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Returns `20150830` and `20150830T123600Z`.
fn stamps(now: SystemTime) -> (String, String) {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let date = format!("{year:04}{month:02}{day:02}");
    let time = format!("{date}T{hour:02}{minute:02}{second:02}Z");
    (date, time)
}

/// Returns year, month and day of a number of days since 1970, by the proleptic Gregorian calendar:
/// eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, of_month)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2015-08-30 12:36:00, the time of AWS's examples.
    fn then() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    fn example() -> AwsCredentials {
        AwsCredentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    }

    fn authorization(request: &Request, credentials: &AwsCredentials, service: &str) -> String {
        let signed = sign(request, credentials, ("us-east-1", service), then()).unwrap();
        signed.headers["authorization"].to_str().unwrap().to_owned()
    }

    /// `get-vanilla` and `get-vanilla-query-order-key` of AWS's test suite for Signature Version 4,
    /// and the request to IAM that AWS's documentation works out.
    #[test]
    fn signs_the_published_examples() {
        let vanilla = Request::get("https://example.amazonaws.com/");
        assert_eq!(
            authorization(&vanilla, &example(), "service"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        let url = "https://example.amazonaws.com/?Param2=value2&Param1=value1";
        assert!(
            authorization(&Request::get(url), &example(), "service")
                .ends_with("b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500")
        );
        let iam = Request::get("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08");
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let iam = iam.with_header("content-type", form).unwrap();
        assert!(
            authorization(&iam, &example(), "iam")
                .ends_with("5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
        );
    }

    /// The value is botocore 1.44.5's for this request.
    #[test]
    fn signs_a_model_in_the_path_and_a_session() {
        let url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-x-v1%3A0/converse";
        let request = Request::post(url).with_body("application/json", r#"{"messages":[]}"#);
        let credentials = example().with_session_token("session-token-value");
        assert!(
            authorization(&request, &credentials, "bedrock")
                .ends_with("6024218c6b749fdd95b3f085d4eec1e3efef02da66fcce5c8350ebfcbd5998ed")
        );
    }

    #[test]
    fn the_secret_shows_nowhere() {
        let credentials = example().with_session_token("session-token-value");
        let request = Request::get("https://example.amazonaws.com/");
        let signed = sign(&request, &credentials, ("r", "s"), then()).unwrap();
        assert_eq!(
            signed.headers["x-amz-security-token"],
            "session-token-value"
        );
        let shown = format!("{credentials:?} {signed:?}");
        assert!(
            !shown.contains("wJalr") && !shown.contains("session-token"),
            "{shown}"
        );
        let error = sign(&Request::get("no-scheme"), &credentials, ("r", "s"), then());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_440_938_160, "20150830T123600Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            let (_, time) = stamps(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(time, expected);
        }
    }
}
