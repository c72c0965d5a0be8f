use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rheostat_engines::Secret;

/// What a server is asked.
///
/// It may be asked twice: where a kept connection turns out to be closed, the request goes out
/// again on a new one. So a request must change nothing at the server.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) form: Bytes,
}

/// How a client says who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authorization {
    /// `Bearer …`.
    Bearer(Secret),
    /// `Basic …`.
    Basic {
        /// The user's name; without a colon.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// A request that cannot be sent. Never shows a value: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a path.
    #[error("path \"{path}\": begins with / and holds only what a URL may hold")]
    Path {
        /// What was given.
        path: String,
    },
    /// Not the name of a header.
    #[error("\"{name}\" is not the name of a header")]
    HeaderName {
        /// What was given.
        name: String,
    },
    /// A header that the client itself sets.
    #[error("header {name} is the client's own to set")]
    HeaderReserved {
        /// The header.
        name: String,
    },
    /// A value that no header can have.
    #[error("the value of header {name} holds characters other than visible ASCII, space and tab")]
    HeaderValue {
        /// The header.
        name: String,
    },
    /// A name that basic authentication cannot send.
    #[error("user name \"{user}\" holds a colon, which basic authentication cannot send")]
    User {
        /// The name.
        user: String,
    },
}

/// Those that say how the message is framed, which only the client knows.
const RESERVED: [&str; 7] = [
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "upgrade",
];

impl Request {
    /// `GET path`, where the path may have a query.
    pub fn get(path: &str) -> Result<Self, RequestError> {
        let malformed = || RequestError::Path { path: path.into() };
        if !path.starts_with('/') {
            return Err(malformed());
        }
        let path = path.parse().map_err(|_| malformed())?;
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        Ok(Self {
            method: Method::GET,
            path,
            headers,
            form: Bytes::new(),
        })
    }

    /// `POST path` with `fields` as a form would send them; how Prometheus takes a long query.
    pub fn post_form<'a>(
        path: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RequestError> {
        let mut request = Self::get(path)?;
        request.method = Method::POST;
        request.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        request.form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish()
            .into();
        Ok(request)
    }

    /// With the media types that the answer should have.
    #[must_use]
    pub fn accept(mut self, types: &'static str) -> Self {
        self.headers.insert(ACCEPT, HeaderValue::from_static(types));
        self
    }

    /// Whether the answer may be compressed; it may unless said otherwise. Between two ends of one
    /// machine compression only costs.
    #[must_use]
    pub fn compressed(mut self, wanted: bool) -> Self {
        let coding = if wanted { "gzip" } else { "identity" };
        self.headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static(coding));
        self
    }

    /// With one more header, in place of one of the same name.
    pub fn header(mut self, name: &str, value: &Secret) -> Result<Self, RequestError> {
        let known: HeaderName = name
            .parse()
            .map_err(|_| RequestError::HeaderName { name: name.into() })?;
        if RESERVED.contains(&known.as_str()) {
            return Err(RequestError::HeaderReserved { name: name.into() });
        }
        let value = secret_value(name, value.reveal())?;
        self.headers.insert(known, value);
        Ok(self)
    }

    /// With an `Authorization` header.
    pub fn authorized(mut self, who: &Authorization) -> Result<Self, RequestError> {
        let text = match who {
            Authorization::Bearer(token) => format!("Bearer {}", token.reveal()),
            Authorization::Basic { user, .. } if user.contains(':') => {
                return Err(RequestError::User { user: user.clone() });
            }
            Authorization::Basic { user, password } => {
                format!(
                    "Basic {}",
                    STANDARD.encode(format!("{user}:{}", password.reveal()))
                )
            }
        };
        let value = secret_value(AUTHORIZATION.as_str(), &text)?;
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// The path, with its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_str()
    }
}

fn secret_value(name: &str, text: &str) -> Result<HeaderValue, RequestError> {
    let malformed = || RequestError::HeaderValue { name: name.into() };
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err(malformed());
    }
    let mut value = HeaderValue::from_str(text).map_err(|_| malformed())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn a_path_begins_with_a_slash_and_ends_where_the_line_does() {
        assert!(Request::get("/metrics?name[]=a").is_ok());
        for bad in ["", "metrics", "http://elsewhere/", "/a b", "/a\r\nHost: b", "*"] {
            assert!(
                matches!(Request::get(bad), Err(RequestError::Path { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_header_cannot_smuggle_another_one() {
        let request = || Request::get("/").unwrap();
        let bearer = |token| request().authorized(&Authorization::Bearer(secret(token)));
        assert!(bearer("abc.def-_~+/=").is_ok());
        assert_eq!(
            bearer("a\r\nX: y").unwrap_err(),
            RequestError::HeaderValue {
                name: "authorization".into()
            }
        );
        assert!(request().header("X-Scope-OrgID", &secret("team-a")).is_ok());
        assert!(request().header("X-Scope\n", &secret("team-a")).is_err());
        assert!(request().header("X-Scope", &secret("a\0")).is_err());
        assert_eq!(
            request().header("Host", &secret("b")).unwrap_err(),
            RequestError::HeaderReserved { name: "Host".into() }
        );
    }

    #[test]
    fn basic_authentication_is_sent_as_the_standard_says_and_never_shown() {
        let who = Authorization::Basic {
            user: "Aladdin".into(),
            password: secret("open sesame"),
        };
        let request = Request::get("/").unwrap().authorized(&who).unwrap();
        assert_eq!(
            request.headers[AUTHORIZATION],
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert!(!format!("{request:?}{who:?}").contains("QWxh"));
        assert!(!format!("{request:?}{who:?}").contains("sesame"));
        let who = Authorization::Basic {
            user: "a:b".into(),
            password: secret(""),
        };
        assert!(Request::get("/").unwrap().authorized(&who).is_err());
    }

    #[test]
    fn a_form_escapes_what_it_must() {
        let request = Request::post_form("/api/v1/query", [("query", "sum(a{b=\"c d\"}) & 1")]).unwrap();
        assert_eq!(&request.form[..], b"query=sum%28a%7Bb%3D%22c+d%22%7D%29+%26+1");
        assert_eq!(request.method, Method::POST);
    }
}
