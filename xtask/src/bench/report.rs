//! The numbers as people read them, each beside its aim.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::wait;

/// The aims: how many times the bare client's time, milliseconds of processor time an object, MiB, and requests of the API
/// server an object.
const MOST_TIMES: f64 = 3.0;
const MOST_MILLISECONDS: f64 = 2.0;
const MOST_MEBIBYTES: f64 = 40.0;
const MOST_REQUESTS: f64 = 12.0;

/// For how many objects the aim for memory is meant.
const OBJECTS_OF_MEMORY_AIM: usize = 3000;

type Counts = BTreeMap<(String, String), usize>;

/// What the work took in all.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    /// Processor time of the API server, which both share with it.
    pub(super) server: Duration,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) objects: usize,
    pub(super) workers: usize,
    pub(super) load: Option<String>,
    pub(super) bare: Cost,
    pub(super) operator: Cost,
    /// How long it took to declare them all, while the operator already worked.
    pub(super) created: Duration,
    /// Processor time of the operator from the first declaration on.
    pub(super) busy: Duration,
    pub(super) dbt_calls: usize,
    pub(super) requests: Counts,
    /// KiB when the last token was published.
    pub(super) rss_busy: u64,
    pub(super) resting: Resting,
}

/// What the operator does when there is nothing to do.
#[derive(Debug)]
pub(super) struct Resting {
    pub(super) time: Duration,
    pub(super) processor: Duration,
    pub(super) requests: Counts,
    pub(super) dbt_calls: usize,
    /// KiB.
    pub(super) rss: u64,
    /// KiB, the most since the start.
    pub(super) peak: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = self.objects as f64;
        let load = self.load.as_deref().unwrap_or("unknown");
        writeln!(formatter, "{} objects, {} at once, release build; load of the machine {load}\n", self.objects, self.workers)?;
        row(formatter, "wall time of the bare client", &wait::spoken(self.bare.wall), "")?;
        row(formatter, "wall time of the operator", &wait::spoken(self.operator.wall), "")?;
        row(formatter, "  of which objects were declared", &wait::spoken(self.created), "")?;
        aim(
            formatter,
            "  times the bare client's",
            self.operator.wall.as_secs_f64() / self.bare.wall.as_secs_f64(),
            MOST_TIMES,
            "times",
        )?;
        let [server, of_bare] = [&self.operator, &self.bare].map(|cost| cost.server.as_secs_f64() * 1000.0 / objects);
        let remark = format!("ms an object; {of_bare:.1} ms for the bare client");
        row(formatter, "  processor time of the API server", &format!("{server:.2}"), &remark)?;
        let milliseconds = self.busy.as_secs_f64() * 1000.0 / objects;
        aim(formatter, "processor time an object", milliseconds, MOST_MILLISECONDS, "ms")?;
        let memory = match self.objects {
            OBJECTS_OF_MEMORY_AIM.. => "MiB",
            _ => "MiB, meant for 3,000 objects",
        };
        aim(formatter, "memory at rest (RSS)", mebibytes(self.resting.rss), MOST_MEBIBYTES, memory)?;
        row(formatter, "  when the last was published", &format!("{:.1} MiB", mebibytes(self.rss_busy)), "")?;
        row(formatter, "  the most it ever was", &format!("{:.1} MiB", mebibytes(self.resting.peak)), "")?;
        let requests: usize = self.requests.values().sum();
        aim(formatter, "API requests an object, no events", requests as f64 / objects, MOST_REQUESTS, "requests")?;
        for ((verb, resource), count) in &self.requests {
            row(formatter, &format!("  {verb} {resource}"), &format!("{:.3}", *count as f64 / objects), "")?;
        }
        row(
            formatter,
            "dbt calls an object",
            &format!("{:.3}", self.dbt_calls as f64 / objects),
            "1 create, 1 probe, shared lists",
        )?;
        self.resting.fmt(formatter)
    }
}

impl fmt::Display for Resting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\nat rest for {}", wait::spoken(self.time))?;
        let share = self.processor.as_secs_f64() / self.time.as_secs_f64();
        row(formatter, "processor", &format!("{:.2} %", share * 100.0), "")?;
        row(formatter, "dbt calls", &self.dbt_calls.to_string(), "only the list of each interval")?;
        row(formatter, "API requests, leases and watches apart", &self.requests.values().sum::<usize>().to_string(), "none")?;
        for ((verb, resource), count) in &self.requests {
            row(formatter, &format!("  {verb} {resource}"), &count.to_string(), "")?;
        }
        Ok(())
    }
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

fn aim(formatter: &mut fmt::Formatter<'_>, what: &str, found: f64, most: f64, unit: &str) -> fmt::Result {
    let verdict = if found <= most { "met" } else { "MISSED" };
    row(formatter, what, &format!("{found:.2}"), &format!("aim: at most {most} {unit}: {verdict}"))
}

fn row(formatter: &mut fmt::Formatter<'_>, what: &str, found: &str, remark: &str) -> fmt::Result {
    writeln!(formatter, "{}", format!("{what:<42}{found:>12}  {remark}").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_aim_is_told() {
        let resting = Resting {
            time: Duration::from_secs(10),
            processor: Duration::from_millis(1),
            requests: Counts::new(),
            dbt_calls: 0,
            rss: 41 * 1024,
            peak: 50 * 1024,
        };
        let report = Report {
            objects: 100,
            workers: 16,
            load: None,
            bare: Cost { wall: Duration::from_secs(1), server: Duration::from_secs(1) },
            created: Duration::from_secs(1),
            operator: Cost { wall: Duration::from_secs(2), server: Duration::from_secs(3) },
            busy: Duration::from_millis(100),
            dbt_calls: 210,
            requests: Counts::from([(("create".to_owned(), "secrets".to_owned()), 200)]),
            rss_busy: 0,
            resting,
        };
        let text = report.to_string();
        for line in [
            "  times the bare client's                         2.00  aim: at most 3 times: met",
            "  processor time of the API server               30.00  ms an object; 10.0 ms for the bare client",
            "processor time an object                          1.00  aim: at most 2 ms: met",
            "memory at rest (RSS)                             41.00  aim: at most 40 MiB, meant for 3,000 objects: MISSED",
            "  create secrets                                 2.000",
            "processor                                       0.01 %",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
