//! Ten thousand requests leave no memory behind.
//!
//! Other tests of this process would be measured too, so the test runs itself once more, alone.

use std::process::Command;
use std::sync::Arc;

use ropewalk_local::{GenerateOptions, LoadOptions, Model, Scheduler, SchedulerOptions};

use super::tiny;
use crate::memory::status;

const ALONE: &str = "ROPEWALK_TEST_SCHEDULE_ALONE";

#[test]
fn memory_is_flat_over_ten_thousand_requests() {
    if std::env::var_os(ALONE).is_none() {
        let name = "schedule::memory::memory_is_flat_over_ten_thousand_requests";
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&run.stdout);
        let log = String::from_utf8_lossy(&run.stderr);
        assert!(
            run.status.success() && out.contains("1 passed"),
            "{out}{log}"
        );
        return;
    }
    let model = Arc::new(Model::from_gguf(tiny(), &LoadOptions::default()).unwrap());
    let pages = 40;
    let options = SchedulerOptions::new().with_pool_tokens(pages * 128);
    let scheduler = Scheduler::new(model, &options).unwrap();
    let mut warm = 0;
    for round in 0..100u32 {
        // A hundred at once, of which a tenth is given up; every prompt is another.
        let handles: Vec<_> = (0..100u32)
            .map(|i| {
                let ids = [5 + round, 5 + i, 7, 9, 5 + (round * i) % 500];
                let options = GenerateOptions::greedy(2).with_stop_ids([]);
                scheduler.submit(&ids, &options).unwrap()
            })
            .collect();
        for (i, handle) in handles.into_iter().enumerate() {
            if i % 10 > 0 {
                assert_eq!(handle.count(), 2);
            }
        }
        if round == 20 && cfg!(target_os = "linux") {
            warm = status("VmRSS");
        }
    }
    // The last that were given up are forgotten at the next step.
    assert_eq!(
        scheduler
            .submit(&[1], &GenerateOptions::greedy(1))
            .unwrap()
            .count(),
        1
    );
    let stats = scheduler.stats();
    assert!(stats.pages_peak <= pages, "{stats:?}");
    assert_eq!((stats.running, stats.waiting), (0, 0), "{stats:?}");
    // All that is in use is kept for prompts to come, and would be given up for them.
    assert_eq!(stats.pages, stats.pages_kept, "{stats:?}");
    assert_eq!(stats.finished + stats.cancelled, 10_001, "{stats:?}");
    assert!(stats.finished >= 9_001, "{stats:?}");
    if cfg!(target_os = "linux") {
        let growth = status("VmRSS").saturating_sub(warm);
        assert!(growth < 4 << 20, "{growth} bytes after {warm}");
    }
}
