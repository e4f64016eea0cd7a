//! What a lie may cost in memory. Each is told to a process of its own, whose peak is measured.

use std::process::Command;

use dbt_token_planner::identity::EnvironmentId;
use dbt_token_planner::permission::Probe;

use super::raw::{Bytes, Raw};
use super::*;
use crate::backend::Backend;

/// Names the lie for a process that is told one.
const LIE: &str = "DBT_TOKEN_OPERATOR_TEST_LIE";

/// What a process may grow by, in KiB. The chart allows it 256 MiB in all.
const MOST: u64 = 128 * 1024;

/// A lie: what is asked, the status, how the body begins, what is repeated in it, and how it ends.
type Lie = (&'static str, Ask, u16, &'static str, &'static str, &'static str);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Account,
    Tokens,
    /// The same, in as many pages as there may be.
    Pages,
    Accounts,
    Discovery,
}

const LIES: [Lie; 13] = [
    ("error", Ask::Account, 400, r#"{"data":["#, r#"{"":0},"#, "0]}"),
    ("error fields", Ask::Account, 400, r#"{"data":{"a":["#, r#""","#, r#"""]}}"#),
    ("account", Ask::Account, 200, r#"{"data":{"id":1,"new":["#, r#"{"":0},"#, "0]}}"),
    ("tokens", Ask::Tokens, 200, r#"{"data":["#, r#"{"id":1},"#, r#"{"id":1}]}"#),
    ("grants", Ask::Tokens, 200, r#"{"data":[{"id":1,"permission_grants":["#, r#"{"permission_set":""},"#, r#"0]}]}"#),
    (
        "tokens with grants",
        Ask::Tokens,
        200,
        r#"{"data":["#,
        r#"{"id":1,"permission_grants":[{"permission_set":""},{"permission_set":""},{"permission_set":""}]},"#,
        r#"{"id":1}]}"#,
    ),
    ("pages", Ask::Pages, 200, "", r#"{"permission_set":"a"},"#, ""),
    ("empty grants", Ask::Tokens, 200, r#"{"data":[{"id":1,"permission_grants":["#, "{},", "{}]}]}"),
    (
        "categories",
        Ask::Tokens,
        200,
        r#"{"data":[{"id":1,"permission_grants":[{"permission_set":"a","writable_environment_categories":["#,
        r#""","#,
        r#"""]}]}]}"#,
    ),
    ("links", Ask::Tokens, 200, r#"{"data":[{"id":1,"semantic_layer_credentials":["#, r#"{"":0},"#, "0]}]}"),
    ("accounts", Ask::Accounts, 200, r#"{"data":["#, r#"{"id":1},"#, r#"{"id":1}]}"#),
    ("graphql data", Ask::Discovery, 200, r#"{"data":["#, r#"{"":0},"#, "0]}"),
    ("graphql errors", Ask::Discovery, 200, r#"{"errors":["#, "{},", "{}]}"),
];

/// A page of believable tokens, as large as an answer may be.
fn page(number: usize, grant: &str) -> Bytes {
    let grants = grant.repeat(100);
    let mut body = r#"{"data":["#.to_owned();
    for id in 1.. {
        let id = number * 1_000_000 + id;
        let token = format!(r#"{{"id":{id},"state":1,"permission_grants":[{}]}}"#, grants.trim_end_matches(','));
        if body.len() + token.len() + 10 > BODY_LIMIT {
            break;
        }
        body += if body.ends_with('[') { "" } else { "," };
        body += &token;
    }
    Bytes::Kept(format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{body}]}}", body.len() + 2))
}

/// As many repetitions as an answer may hold.
fn bytes(lie: &Lie, number: usize) -> Bytes {
    let (_, ask, status, first, again, last) = *lie;
    if ask == Ask::Pages {
        return page(number, again);
    }
    let times = (BODY_LIMIT - first.len() - last.len()) / again.len();
    let length = first.len() + times * again.len() + last.len();
    Bytes::Repeated(format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{first}"), again, times, last)
}

/// The most memory that this process ever held, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

async fn be_told(lie: Lie) {
    let server = Raw::start(move |number| bytes(&lie, number)).await;
    let timing = Timing { body_limit: BODY_LIMIT, verification_pauses: Vec::new(), ..timing() };
    let client = DbtCloud::connect(&connection(&server.url()), &token(OWN), surroundings(timing)).expect("a valid connection");
    let before = peak();
    let believed = match lie.1 {
        Ask::Account => client.account().await.is_ok_and(|info| info.id == ACCOUNT),
        Ask::Tokens | Ask::Pages => client.list().await.is_ok(),
        Ask::Accounts => client.verify(Probe::Accounts, &token(NEW)).await == crate::backend::Verdict::Passed,
        Ask::Discovery => client.verify(Probe::Discovery(EnvironmentId(1)), &token(NEW)).await == crate::backend::Verdict::Passed,
    };
    println!("grown by {} after {} requests, {believed}", peak() - before, server.requests());
}

#[cfg(target_os = "linux")]
#[test]
fn no_lie_costs_much_memory() {
    if let Ok(name) = std::env::var(LIE) {
        let lie = LIES.into_iter().find(|lie| lie.0 == name).expect("a lie of the table");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(be_told(lie));
    }
    let program = std::env::current_exe().expect("this program");
    let mut costs = Vec::new();
    for (name, ..) in LIES {
        let arguments = ["--exact", "backend::dbt::tests::memory::no_lie_costs_much_memory", "--nocapture"];
        let output = Command::new(&program).args(arguments).env(LIE, name).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = told.split_once("grown by ").unwrap_or_else(|| panic!("{name}: {told}"));
        let (cost, rest) = rest.split_once(' ').expect("a number");
        assert!(output.status.success() && !rest.contains("after 0") && rest.contains("false"), "{name}: {told}");
        costs.push((name, cost.parse::<u64>().expect("a number")));
    }
    assert!(costs.iter().all(|(_, cost)| *cost < MOST), "KiB: {costs:?}");
    println!("KiB: {costs:?}");
}
