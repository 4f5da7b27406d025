//! Sharing rows among the threads of a pool.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ropewalk_kernels::Pool;

/// Runs `f` once on every item; a chunk of items is one unit of work.
///
/// # Errors
/// The first error that was met; other items may have run or not.
pub(crate) fn for_each<T: Send, E: Send>(
    pool: &Pool,
    items: Vec<T>,
    f: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let n = items.len();
    let per = n.div_ceil(4 * usize::from(pool.threads())).max(1);
    let mut chunks = Vec::with_capacity(n.div_ceil(per));
    let mut items = items.into_iter();
    while items.len() > 0 {
        chunks.push(Mutex::new(items.by_ref().take(per).collect::<Vec<T>>()));
    }
    let failure = Mutex::new(None);
    pool.run(chunks.len(), &|i| {
        let Some(chunk) = chunks.get(i) else { return };
        let items = std::mem::take(&mut *lock(chunk));
        if let Err(e) = items.into_iter().try_for_each(&f) {
            lock(&failure).get_or_insert(e);
        }
    });
    let failure = lock(&failure).take();
    failure.map_or(Ok(()), Err)
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    #[test]
    fn every_item_is_visited_once() {
        for threads in 1..4 {
            let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
            for n in [0, 1, 7, 100] {
                let mut x = vec![0u32; n];
                let add = |v: &mut u32| {
                    *v += 1;
                    Ok::<(), usize>(())
                };
                for_each(&pool, x.iter_mut().collect(), add).unwrap();
                assert!(x.iter().all(|&v| v == 1));
                assert_eq!(for_each(&pool, vec![0; n], |_| Err(n)).is_err(), n > 0);
            }
        }
    }
}
