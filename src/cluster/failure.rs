//! What a failed call to the API server means, and its message for people. Made from the client's error here and nowhere
//! else, since that error's own text may repeat what was sent or received, and that may be a Secret.

use kube::core::Status;

use super::quotes;

/// What a failure means for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Something else was there than what was seen: look again.
    Conflict,
    /// The API server refuses the write, for a reason that a person can mend: quota, admission, rights, validity.
    Refused {
        /// The API server's message, for the user.
        message: String,
    },
    /// A retry mends it. After a write it is not known whether it was done.
    Unavailable,
}

impl Class {
    /// The word for metrics and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Refused { .. } => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A failed call: what it means, and what happened, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What it means.
    pub class: Class,
    /// What happened, for a person.
    pub detail: String,
}

impl Failure {
    /// An answer without what every answer has.
    pub(super) fn nameless() -> Self {
        unavailable("the API server's answer names no uid or version".to_owned())
    }

    /// Takes out a message that repeats one of the given values, which are secret. An admission policy of the cluster may
    /// quote what it refuses.
    #[must_use]
    pub fn without<'secret>(self, secrets: impl IntoIterator<Item = &'secret [u8]>) -> Self {
        if quotes::repeats(&self.detail, secrets) { self.withheld() } else { self }
    }

    fn withheld(self) -> Self {
        let withheld = "the message is withheld, since it repeats data of the Secret".to_owned();
        let class = match self.class {
            Class::Refused { .. } => Class::Refused { message: withheld.clone() },
            other => other,
        };
        Self { class, detail: withheld }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => from_status(&status),
            // The text of these may quote the body.
            kube::Error::SerdeError(error) => unavailable(format!(
                "the API server's answer makes no sense ({:?} error in line {}, column {})",
                error.classify(),
                error.line(),
                error.column()
            )),
            kube::Error::FromUtf8(_) => unavailable("the API server's answer is no text".to_owned()),
            other => unavailable(spelled_out(&other)),
        }
    }
}

/// The message and those of its causes, as long as they add something.
fn spelled_out(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

fn unavailable(detail: String) -> Failure {
    Failure { class: Class::Unavailable, detail }
}

/// The message, unless it shows a token: a policy may also quote what is there already, which the caller does not know.
///
/// 404 counts as a conflict: every write speaks of something that was seen, so it has gone in between.
fn from_status(status: &Status) -> Failure {
    let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
    let class = match status.code {
        404 | 409 | 410 => Class::Conflict,
        401 | 408 | 429 => Class::Unavailable,
        400..=499 => Class::Refused { message: message.clone() },
        _ => Class::Unavailable,
    };
    let failure = Failure { class, detail: format!("the API server answers {}: {message}", status.code) };
    if quotes::shows_a_token(&message) { failure.withheld() } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: u16) -> Failure {
        let status = Status { code, ..Status::failure("exceeded quota: small", "Forbidden") };
        Failure::from(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn each_answer_has_its_class() {
        let refused = Class::Refused { message: "exceeded quota: small".to_owned() };
        for (code, expected) in [
            (400, refused.clone()),
            (401, Class::Unavailable),
            (403, refused.clone()),
            (404, Class::Conflict),
            (408, Class::Unavailable),
            (409, Class::Conflict),
            (413, refused.clone()),
            (422, refused),
            (429, Class::Unavailable),
            (500, Class::Unavailable),
            (503, Class::Unavailable),
        ] {
            assert_eq!(failure(code).class, expected, "{code}");
        }
    }

    #[test]
    fn a_message_that_repeats_a_secret_is_withheld() {
        let failure = failure(403);
        assert_eq!(failure.clone().without(["a canary".as_bytes()]), failure);
        let withheld = failure.without(["a canary".as_bytes(), "quota: small".as_bytes()]);
        assert!(!format!("{withheld} {withheld:?}").contains("small"));
        assert!(matches!(withheld.class, Class::Refused { .. }));
    }

    #[test]
    fn a_message_that_shows_a_token_of_anybody_is_withheld() {
        let status = Status { code: 403, ..Status::failure("not while it holds ZGJ0Y18tQ2EwZjBnaWlI", "Forbidden") };
        let withheld = Failure::from(kube::Error::Api(status.boxed()));
        assert!(!format!("{withheld} {withheld:?}").contains("ZGJ0"));
        assert!(matches!(withheld.class, Class::Refused { .. }));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let error = serde_json::from_str::<u8>("\"canary\"").expect_err("a text is no number");
        let failure = Failure::from(kube::Error::SerdeError(error));
        assert!(!format!("{failure} {failure:?}").contains("canary"));
        assert_eq!(failure.class, Class::Unavailable);
    }
}
