//! How much memory there is.

/// The memory that the system has to spare, in bytes. `None` where it does not tell.
pub fn available() -> Option<u64> {
    in_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The memory available according to Linux's `/proc/meminfo`, in bytes.
fn in_meminfo(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_memory_is_read() {
        let text = "MemTotal:       32000000 kB\nMemFree:  5 kB\nMemAvailable:   23206436 kB\n";
        assert_eq!(in_meminfo(text), Some(23_206_436 * 1024));
        assert_eq!(in_meminfo("MemTotal: 1 kB"), None);
        assert_eq!(in_meminfo("MemAvailable: many kB"), None);
    }
}
