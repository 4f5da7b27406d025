//! Who calls.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ropewalk_core::Result;
use ropewalk_http::Request;
use serde_json::Value;

use super::document::Document;
use super::encode::encoded;
use super::error::OpenApiError;
use super::operation::Operation;

/// A secret for a security scheme. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Secret);

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Token(String),
    Key(String),
    Basic(String, String),
}

impl Credential {
    /// Creates a bearer token, also for OAuth 2 and OpenID Connect.
    pub fn bearer(token: impl Into<String>) -> Self {
        Self(Secret::Token(token.into()))
    }

    /// Creates a key; the document says where it goes.
    pub fn key(key: impl Into<String>) -> Self {
        Self(Secret::Key(key.into()))
    }

    /// Creates a name and password for HTTP Basic (RFC 7617).
    pub fn basic(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Secret::Basic(user.into(), password.into()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Secret::Token(_) => "Credential(bearer)",
            Secret::Key(_) => "Credential(key)",
            Secret::Basic(..) => "Credential(basic)",
        })
    }
}

/// A credential and where it goes.
#[derive(Debug, Clone)]
pub(super) struct Login {
    credential: Credential,
    place: LoginPlace,
}

#[derive(Debug, Clone)]
enum LoginPlace {
    Authorization,
    Header(String),
    Query(String),
    Cookie(String),
}

/// Picks the first way to log in for which every credential is there.
pub(super) fn choose(
    document: &Document,
    operation: &Operation,
    credentials: &HashMap<String, Credential>,
) -> std::result::Result<Vec<Login>, OpenApiError> {
    let ways = operation
        .value
        .get("security")
        .or_else(|| document.root.get("security"));
    let ways = ways
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut anonymous = ways.is_empty();
    for way in ways.iter().filter_map(Value::as_object) {
        let logins = way.keys().map(|s| Some((s, credentials.get(s)?)));
        match logins.collect::<Option<Vec<_>>>() {
            Some(logins) if logins.is_empty() => anonymous = true,
            Some(logins) => {
                let logins = logins
                    .into_iter()
                    .map(|(s, c)| login(document, operation, s, c));
                return logins.collect();
            }
            None => {}
        }
    }
    if anonymous {
        return Ok(Vec::new());
    }
    let shown = ways.iter().filter_map(Value::as_object).map(|way| {
        let names: Vec<_> = way.keys().map(|k| format!("{k:?}")).collect();
        names.join(" and ")
    });
    Err(OpenApiError::MissingCredential {
        operation: operation.shown(),
        schemes: shown.collect::<Vec<_>>().join(" or "),
    })
}

fn login(
    document: &Document,
    operation: &Operation,
    scheme: &str,
    credential: &Credential,
) -> std::result::Result<Login, OpenApiError> {
    let unsupported = |problem: String| OpenApiError::Unsupported {
        operation: operation.shown(),
        problem,
    };
    let schemes = document.root.pointer("/components/securitySchemes");
    let Some(found) = schemes.and_then(|s| s.get(scheme)) else {
        return Err(unsupported(format!(
            "the security scheme {scheme:?} is not described"
        )));
    };
    let found = document.resolve(found)?;
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or("");
    let http = text("scheme").to_ascii_lowercase();
    let name = text("name").to_owned();
    let place = match (text("type"), &credential.0) {
        ("http", Secret::Token(_)) if http == "bearer" => LoginPlace::Authorization,
        ("http", Secret::Basic(..)) if http == "basic" => LoginPlace::Authorization,
        ("oauth2" | "openIdConnect", Secret::Token(_)) => LoginPlace::Authorization,
        ("apiKey", Secret::Key(_)) if !name.is_empty() => match text("in") {
            "header" => LoginPlace::Header(name),
            "query" => LoginPlace::Query(name),
            "cookie" => LoginPlace::Cookie(name),
            other => return Err(unsupported(format!("a key in {other:?} is not sent"))),
        },
        (kind, _) => {
            let problem = format!(
                "the security scheme {scheme:?} ({kind} {http}) does not take {credential:?}"
            );
            return Err(unsupported(problem));
        }
    };
    Ok(Login {
        credential: credential.clone(),
        place,
    })
}

impl Login {
    /// Adds the secret to a request; cookies are left for [`cookie`](Self::cookie).
    pub(super) fn apply(&self, request: Request) -> Result<Request> {
        let secret = match &self.credential.0 {
            Secret::Token(token) => token,
            Secret::Key(key) => key,
            Secret::Basic(user, password) => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                let request = request.with_secret(password.clone());
                return request.with_secret_header("authorization", "Basic ", &pair);
            }
        };
        match &self.place {
            LoginPlace::Authorization => {
                request.with_secret_header("authorization", "Bearer ", secret)
            }
            LoginPlace::Header(name) => request.with_secret_header(name, "", secret),
            LoginPlace::Query(name) => Ok(request.with_secret_query(name, secret)),
            LoginPlace::Cookie(_) => Ok(request.with_secret(secret.clone())),
        }
    }

    /// Returns the cookie that carries the secret.
    pub(super) fn cookie(&self) -> Option<String> {
        match (&self.place, &self.credential.0) {
            (LoginPlace::Cookie(name), Secret::Key(key)) => {
                Some(format!("{}={}", encoded(name), encoded(key)))
            }
            _ => None,
        }
    }
}
