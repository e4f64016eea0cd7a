//! The grammar, field by field, and which dates and minutes match.

use jiff::civil::date;

use super::*;

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

#[track_caller]
fn times(text: &str, expected: &[(i8, i8)]) {
    assert_eq!(schedule(text).times().collect::<Vec<_>>(), expected, "{text}");
}

/// The days of November 2026 that match; the first is a Sunday.
#[track_caller]
fn days(text: &str, expected: &[i8]) {
    let schedule = schedule(&format!("0 0 {text}"));
    let found: Vec<i8> = (1..=30).filter(|day| schedule.matches(date(2026, 11, *day))).collect();
    assert_eq!(found, expected, "{text}");
}

#[track_caller]
fn months(text: &str, expected: &[i8]) {
    let schedule = schedule(&format!("0 0 * {text} *"));
    let found: Vec<i8> = (1..=12).filter(|month| schedule.matches(date(2026, *month, 17))).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn minutes_and_hours_are_lists_of_values_ranges_and_steps() {
    times("5 2 * * *", &[(2, 5)]);
    times("05 02 * * *", &[(2, 5)]);
    times("*/30 2,4 * * *", &[(2, 0), (2, 30), (4, 0), (4, 30)]);
    times("10-20/5 23 * * *", &[(23, 10), (23, 15), (23, 20)]);
    times("50/3 0 * * *", &[(0, 50), (0, 53), (0, 56), (0, 59)]);
    times("0 20/2 * * *", &[(20, 0), (22, 0)]);
    times("59,0,0 7 * * *", &[(7, 0), (7, 59)]);
    times("*/99 0 * * *", &[(0, 0)]);
    assert_eq!(schedule("* * * * *").times().count(), 24 * 60);
    let backwards: Vec<_> = schedule("0,30 1-2 * * *").times().rev().collect();
    assert_eq!(backwards, [(2, 30), (2, 0), (1, 30), (1, 0)]);
}

#[test]
fn months_and_weekdays_have_names_in_any_case() {
    months("1", &[1]);
    months("JAN,mar-May,12", &[1, 3, 4, 5, 12]);
    months("*/5", &[1, 6, 11]);
    months("oct/1", &[10, 11, 12]);
    days("* * SAT", &[7, 14, 21, 28]);
    days("* * sat,1", &[2, 7, 9, 14, 16, 21, 23, 28, 30]);
    days("* * Mon-Wed/2", &[2, 4, 9, 11, 16, 18, 23, 25, 30]);
}

#[test]
fn sunday_is_0_and_7_and_may_end_a_range() {
    for sunday in ["0", "7", "SUN", "7-7", "0-0", "SUN-7/7"] {
        days(&format!("* * {sunday}"), &[1, 8, 15, 22, 29]);
    }
    for weekend in ["6-7", "SAT-SUN", "6,0", "6-0"] {
        days(&format!("* * {weekend}"), &[1, 7, 8, 14, 15, 21, 22, 28, 29]);
    }
    days("* * 7-1", &[1, 2, 8, 9, 15, 16, 22, 23, 29, 30]);
    let all: Vec<i8> = (1..=30).collect();
    for every in ["*", "0-7", "0-6", "1-7", "7/1", "0/1", "*/1"] {
        days(&format!("* * {every}"), &all);
    }
    days("* * 4/2", &[5, 7, 12, 14, 19, 21, 26, 28]);
}

#[test]
fn either_day_matches_if_both_are_restricted() {
    days("13 * *", &[13]);
    days("13 * FRI", &[6, 13, 20, 27]);
    days("14 * FRI", &[6, 13, 14, 20, 27]);
    days("*/1 * FRI", &[6, 13, 20, 27]);
    days("*,3 * FRI", &[6, 13, 20, 27]);
    days("14 * *,FRI", &[14]);
    // A star with a step restricts, as in a CronJob.
    days("*/15 * FRI", &[1, 6, 13, 16, 20, 27]);
    // The month restricts in any case.
    days("14 JAN FRI", &[]);
}

#[track_caller]
fn refused(text: &str, expected: &ScheduleProblem) {
    assert_eq!(Schedule::parse(text).as_ref(), Err(expected), "{text}");
}

#[test]
fn what_is_no_schedule_is_refused() {
    for text in [
        "",
        " ",
        "* * * *",
        "* * * * * *",
        "*  * * * *",
        " * * * * *",
        "* * * * * ",
        "*\t* * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * 07",
        "000 * * * *",
        "-1 * * * *",
        "+1 * * * *",
        "1- * * * *",
        "-1 * * * *",
        "1-2-3 * * * *",
        ", * * * *",
        "1, * * * *",
        "1,,2 * * * *",
        "*/0 * * * *",
        "*/01 * * * *",
        "*/100 * * * *",
        "*/ * * * *",
        "*/1/1 * * * *",
        "* * * * */8",
        "* * * * */0",
        "*-3 * * * *",
        "? * * * *",
        "* * L * *",
        "* * * * SAT#1",
        "* * * JANUARY *",
        "* * * SAT *",
        "SUN * * * *",
        "１ * * * *",
        "* * * * S",
    ] {
        refused(text, &ScheduleProblem::Malformed);
    }
    for (text, range) in
        [("30-20 * * * *", "30-20"), ("0 22-5 * * *", "22-5"), ("0 0 * NOV-FEB *", "NOV-FEB"), ("0 0 * * FRI-MON", "FRI-MON")]
    {
        refused(text, &ScheduleProblem::Backwards { range: range.into() });
    }
}

#[test]
fn a_schedule_that_no_date_matches_is_refused() {
    for text in ["0 0 30 2 *", "0 0 30,31 FEB *", "0 0 31 2,4,6,9,11 *", "0 0 31/1 4 *"] {
        refused(text, &ScheduleProblem::Never);
    }
    for text in ["0 0 29 2 *", "0 0 30 2,3 *", "0 0 31 4,5 *", "0 0 30 2 MON", "0 0 29-31 2 *", "0 0 31 * *"] {
        assert!(Schedule::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn every_problem_says_what_to_write() {
    for problem in [ScheduleProblem::Malformed, ScheduleProblem::Backwards { range: "22-5".into() }, ScheduleProblem::Never] {
        assert!(!problem.to_string().is_empty() && problem.remedy().contains("example"));
    }
}
