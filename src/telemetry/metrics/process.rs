//! What the kernel says of this process, under the names that every Prometheus client gives it.

use std::{fmt::Write as _, fs};

use super::catalogue::{self, Metric};

/// In the text format of Prometheus; what the kernel does not say is left out.
pub(super) fn render() -> String {
    let mut text = String::new();
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let stat = stat.as_deref().and_then(Stat::parse);
    let ticks = rustix::param::clock_ticks_per_second();
    #[allow(clippy::cast_precision_loss)] // times and sizes fit a double's mantissa
    let seconds = |count: u64| count as f64 / ticks as f64;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or_default();
    if let Some(stat) = stat {
        write(&mut text, &catalogue::CPU, seconds(stat.user.saturating_add(stat.system)));
        write(&mut text, &catalogue::MEMORY, stat.resident_pages.saturating_mul(page));
        write(&mut text, &catalogue::VIRTUAL_MEMORY, stat.virtual_bytes);
        write(&mut text, &catalogue::THREADS, stat.threads);
        if let Some(boot) = boot_time() {
            write(&mut text, &catalogue::STARTED, boot + seconds(stat.started));
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        write(&mut text, &catalogue::OPEN_FILES, open.count().saturating_sub(1));
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        write(&mut text, &catalogue::MOST_FILES, most);
    }
    text
}

fn write(text: &mut String, metric: &Metric, value: impl std::fmt::Display) {
    let Metric { name, kind, help, .. } = metric;
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n", kind = kind.as_str());
}

/// Of proc_pid_stat(5); times in ticks.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    user: u64,
    system: u64,
    threads: u64,
    /// After the machine's start.
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name, which may hold anything.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // As the manual numbers them, from 1.
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            user: field(14)?,
            system: field(15)?,
            threads: field(20)?,
            started: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_hold_anything() {
        let line = "7 (a) 1 (b) S 1 7 7 0 -1 4194560 8 0 0 0 31 17 0 0 20 0 4 0 1234 5678592 910 18446744073709551615";
        let stat =
            Stat { user: 31, system: 17, threads: 4, started: 1234, virtual_bytes: 5_678_592, resident_pages: 910 };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_says_all_of_it() {
        let text = render();
        let of_process = catalogue::all().filter(|metric| metric.name.starts_with("process_"));
        for Metric { name, .. } in of_process {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap();
            assert!(value > 0.0 || **name == *"process_cpu_seconds_total", "{name} {value}");
        }
    }
}
