//! What a process has used so far, from Linux's own books.

use std::time::Duration;

/// Linux has counted processor time for programs in hundredths of a second for as long as it has had `/proc`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process, its threads included.
pub(super) fn processor_time(process_id: u32) -> Option<Duration> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?)
}

/// The memory that a process holds now, and the most that it ever held, in KiB.
pub(super) fn memory(process_id: u32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{process_id}/status")).ok()?;
    Some((field(&text, "VmRSS:")?, field(&text, "VmHWM:")?))
}

/// The load of the machine over the last minute, by which a person judges the numbers.
pub(super) fn load() -> Option<String> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next().map(str::to_owned)
}

fn parse_stat(text: &str) -> Option<Duration> {
    // The name in parentheses may hold anything; the fields behind it begin with the third.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index - 3)?.parse::<f64>().ok();
    Some(Duration::from_secs_f64((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_are_read() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(field("VmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\n", "VmRSS:"), Some(1024));
    }
}
