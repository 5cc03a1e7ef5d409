//! Threads whose work can wait.

/// Lets the calling thread run only when others leave time: nice 10. Not possible, it goes on as it was.
///
/// Linux keeps the value per thread (POSIX says per process), so doors and writers are untouched.
pub fn lower_priority() {
    // The calling thread is what Linux means by nobody.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, LOW_NICE);
}

/// Below everything that somebody waits for, above what is truly idle.
#[cfg(target_os = "linux")]
const LOW_NICE: i32 = 10;
