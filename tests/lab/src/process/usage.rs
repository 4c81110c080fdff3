//! What a process uses, as the kernel tells in /proc (proc(5)).

use std::{fs, time::Duration};

use crate::error::{During, Error};

/// The memory and processor time of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Memory resident now, in bytes (`VmRSS`).
    pub resident: u64,
    /// The most memory that was ever resident, in bytes (`VmHWM`).
    pub peak: u64,
    /// Processor time since its start, user and system.
    pub cpu: Duration,
}

impl Usage {
    /// Reads the usage of the process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).during(|| format!("read {path}"))
        };
        let status = read("status")?;
        let parsed = || {
            Some(Self {
                resident: kibibytes(&status, "VmRSS:")? * 1024,
                peak: kibibytes(&status, "VmHWM:")? * 1024,
                cpu: cpu_time(&read("stat").ok()?)?,
            })
        };
        parsed().ok_or_else(|| Error::Usage(format!("process {pid} has ended: nothing to measure")))
    }
}

fn kibibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// From `/proc/PID/stat`: fields 14 and 15, in clock ticks. The name (field 2) may hold spaces and brackets.
fn cpu_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis((user + system) * 1000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(300 * 1000 / ticks)));
    }
}
