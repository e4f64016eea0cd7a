//! The vocabulary of faults: which calls go wrong (`Match`) and how (`Fault`). `fault_plan.rs`
//! decides about each call; `carry_out.rs` does it.

use serde::{Deserialize, Serialize};

use crate::account::TokenId;

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Nothing happens; this status is answered in the usual envelope.
    ErrorBefore {
        /// The status.
        status: u16,
    },
    /// The effect happens; this status is answered in the usual envelope.
    ErrorAfter {
        /// The status.
        status: u16,
    },
    /// Nothing happens; the connection is closed without an answer.
    DropBefore,
    /// The effect happens; the connection is closed without an answer.
    DropAfter,
    /// Nothing happens until the rule is released or the time is over; then the call is served. If
    /// the client gives up before, nothing ever happens.
    HangBefore {
        /// How long at most; for ever if absent.
        #[serde(default)]
        ms: Option<u64>,
    },
    /// The effect happens at once; the answer waits until the rule is released or the time is over.
    HangAfter {
        /// How long at most; for ever if absent.
        #[serde(default)]
        ms: Option<u64>,
    },
    /// The answer is lost now; the effect lands later, when the rule is released or the time is
    /// over. The caller was let in at arrival: revoking its token meanwhile does not stop it.
    LateEffect {
        /// When the effect lands at the latest; only on release if absent.
        #[serde(default)]
        after_ms: Option<u64>,
        /// How the answer is lost.
        #[serde(default)]
        lost: Lost,
    },
    /// 429 without any effect.
    TooManyRequests {
        /// The `Retry-After` header, if any.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
    /// An HTML page of a gateway, without any effect.
    Html {
        /// The status, 502 for example.
        status: u16,
    },
    /// `401 Invalid token.`, without any effect.
    Unauthorized,
    /// The 403 of an address restriction, without any effect.
    AddressDenied,
    /// A list answer with nothing in it.
    EmptyList,
    /// The answer of a read as it was when the rule was added.
    StaleList,
    /// The answer comes in small pieces.
    SlowBody {
        /// Bytes per piece.
        #[serde(default = "slow_bytes")]
        chunk_bytes: usize,
        /// Milliseconds between pieces.
        #[serde(default = "slow_pause")]
        pause_ms: u64,
    },
    /// A JSON body of at least this size instead of the answer; the effect happens.
    HugeBody {
        /// The size.
        bytes: u64,
    },
    /// 302 to another place, without any effect.
    Redirect {
        /// The `Location` header.
        location: String,
    },
    /// The effect happens; the answer's JSON holds bytes that are not UTF-8.
    InvalidUtf8,
    /// The effect happens; the answer's JSON ends in the middle.
    Truncated,
    /// Every item of the list comes twice.
    DuplicateIds,
    /// The effect happens; the answer says that it was about another token.
    OtherToken {
        /// The id that the answer gives.
        id: i64,
        /// The uid that the answer gives; that of the token itself if absent.
        #[serde(default)]
        uid: Option<String>,
    },
}

/// How the answer of a late effect is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The connection is closed.
    #[default]
    Drop,
    /// Nothing is answered until the client gives up.
    Hang,
    /// 504 in HTML.
    GatewayTimeout,
}

fn slow_bytes() -> usize {
    16
}

fn slow_pause() -> u64 {
    50
}

impl Fault {
    /// The name of the fault in the request log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ErrorBefore { .. } => "error_before",
            Self::ErrorAfter { .. } => "error_after",
            Self::DropBefore => "drop_before",
            Self::DropAfter => "drop_after",
            Self::HangBefore { .. } => "hang_before",
            Self::HangAfter { .. } => "hang_after",
            Self::LateEffect { .. } => "late_effect",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Html { .. } => "html",
            Self::Unauthorized => "unauthorized",
            Self::AddressDenied => "address_denied",
            Self::EmptyList => "empty_list",
            Self::StaleList => "stale_list",
            Self::SlowBody { .. } => "slow_body",
            Self::HugeBody { .. } => "huge_body",
            Self::Redirect { .. } => "redirect",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::Truncated => "truncated",
            Self::DuplicateIds => "duplicate_ids",
            Self::OtherToken { .. } => "other_token",
        }
    }
}

/// Which calls a rule is for. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The method.
    pub method: Option<String>,
    /// The path without its query. `*` or `{anything}` stands for one segment, `**` for any number;
    /// a pattern that does not begin with `/` is matched against the end of the path.
    pub path: Option<String>,
    /// The calling token.
    pub token_id: Option<TokenId>,
    /// Only the n-th matching call, counted from 1.
    pub nth: Option<u64>,
    /// Not the first so many matching calls.
    pub skip: u64,
    /// At most so many times.
    pub times: Option<u64>,
    /// Only with this probability, from 0 to 1.
    pub probability: Option<f64>,
    /// The seed of the probability; the same seed gives the same choices.
    pub seed: u64,
}

/// A rule of the fault plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which calls.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// What goes wrong.
    pub fault: Fault,
}

impl Rule {
    /// `fault` on every call; narrow it with the methods below.
    pub fn new(fault: Fault) -> Self {
        Self { matching: Match::default(), fault }
    }

    /// Only calls of `method` on `path` (see [`Match::path`]).
    #[must_use]
    pub fn on(mut self, method: &str, path: &str) -> Self {
        self.matching.method = Some(method.to_owned());
        self.matching.path = Some(path.to_owned());
        self
    }

    /// Only calls by this token.
    #[must_use]
    pub fn by(mut self, token_id: TokenId) -> Self {
        self.matching.token_id = Some(token_id);
        self
    }

    /// Only the n-th matching call, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.matching.nth = Some(nth);
        self
    }

    /// Not the first `calls` matching calls.
    #[must_use]
    pub fn skip(mut self, calls: u64) -> Self {
        self.matching.skip = calls;
        self
    }

    /// At most `times` times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.matching.times = Some(times);
        self
    }

    /// Only with `probability`, chosen by a generator that starts from `seed`.
    #[must_use]
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.matching.probability = Some(probability);
        self.matching.seed = seed;
        self
    }
}
