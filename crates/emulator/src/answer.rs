//! An answer before it becomes HTTP: the envelope, and the errors with their exact words.

use serde_json::{Map, Value, json};

/// The body of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Empty,
    Json(Value),
    Html(String),
    Bytes(Vec<u8>),
}

/// An answer before it becomes HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

impl Answer {
    pub(crate) fn json(status: u16, value: Value) -> Self {
        Self { status, headers: Vec::new(), content: Content::Json(value) }
    }

    /// 200 with an object in the envelope.
    pub(crate) fn object(data: Value) -> Self {
        Self::json(200, envelope(200, "Success!", data))
    }

    /// 204 without a body.
    pub(crate) fn no_content() -> Self {
        Self { status: 204, headers: Vec::new(), content: Content::Empty }
    }

    /// An error in the envelope, with `developer_message` null as observed on 401.
    pub(crate) fn error(status: u16, user_message: &str, data: Value) -> Self {
        Self::json(status, envelope(status, user_message, data))
    }

    /// The 401 of a bad token, a deleted token and a wrong host alike.
    pub(crate) fn invalid_token() -> Self {
        Self::error(401, "Invalid token.", Value::Null)
    }

    /// The 401 of a locked account. `[ASSUMED]` wording around the word "unpaid".
    pub(crate) fn unpaid() -> Self {
        Self::error(401, "This account is unpaid. Please contact support to unlock it.", Value::Null)
    }

    /// The 404 of what does not exist and of what is not permitted alike.
    pub(crate) fn not_found() -> Self {
        Self::error(404, "The requested resource was not found. Please check that you have the proper permissions.", Value::Null)
    }

    /// The 400 of a failed validation, with the details of one field.
    pub(crate) fn invalid(field: &str, reason: &str) -> Self {
        let mut details = Map::new();
        details.insert(field.to_owned(), json!([reason]));
        Self::refused(Value::Object(details))
    }

    /// The 400 of a failed validation.
    pub(crate) fn refused(data: Value) -> Self {
        Self::error(400, "The request was invalid. Please double check the provided data and try again.", data)
    }

    /// The 403 of an address restriction.
    pub(crate) fn access_denied(account_id: i64) -> Self {
        let data = json!({
            "account_id": account_id,
            "user_id": null,
            "is_service_token": true,
            "account_access_denied": true,
        });
        Self::error(403, "Forbidden: Access denied", data)
    }

    /// 429, with `Retry-After` only where asked for: it is undocumented for the Admin API.
    pub(crate) fn too_many(retry_after_seconds: Option<u64>) -> Self {
        let mut answer = Self::error(429, "Too many requests. Please try again later.", Value::Null);
        if let Some(seconds) = retry_after_seconds {
            answer.headers.push(("retry-after", seconds.to_string()));
        }
        answer
    }

    /// The page of a gateway in front of the service: no envelope.
    pub(crate) fn html(status: u16) -> Self {
        let page = format!(
            "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        Self { status, headers: Vec::new(), content: Content::Html(page) }
    }
}

/// The envelope of everything but lists.
fn envelope(code: u16, user_message: &str, data: Value) -> Value {
    let mut body = Map::new();
    body.insert("status".to_owned(), status_block(code, user_message));
    body.insert("data".to_owned(), data);
    Value::Object(body)
}

/// The first half of every envelope.
pub(crate) fn status_block(code: u16, user_message: &str) -> Value {
    json!({
        "code": code,
        "is_success": code < 400,
        "user_message": user_message,
        "developer_message": if code < 400 { json!("") } else { Value::Null },
    })
}
