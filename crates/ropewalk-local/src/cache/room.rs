//! Pages for what a pass will write, for all of its sequences or for none.

use std::sync::Arc;

use super::page::{PAGE, Page};
use super::{Cache, Result};

/// The positions of a cache that a pass will write.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) from: usize,
    pub(crate) end: usize,
}

/// Gives every cache pages of its own for the positions it wants; where one shares its last page,
/// it gets a copy of it. After an error no cache has changed.
pub(crate) fn make_room<T>(
    items: &mut [T],
    wanted: impl for<'a> Fn(&'a mut T) -> Wanted<'a>,
) -> Result<()> {
    if items.iter_mut().all(|item| wanted(item).is_there()) {
        return Ok(());
    }
    let mut grants = Vec::with_capacity(items.len());
    let mut copied: Vec<*const Page> = Vec::new();
    for item in items.iter_mut() {
        let want = wanted(item);
        let (first, end) = want.pages();
        let pages = &want.cache.pages;
        let mut needed = end.saturating_sub(pages.len().max(first));
        for page in pages.iter().take(end).skip(first) {
            let before = copied.iter().filter(|p| **p == Arc::as_ptr(page)).count();
            // The last of its holders writes in place.
            if before + 1 < Arc::strong_count(page) {
                needed += 1;
                copied.push(Arc::as_ptr(page));
            }
        }
        grants.push(want.cache.pool.take(needed)?);
    }
    for (item, mut grant) in items.iter_mut().zip(grants) {
        wanted(item).fill(&mut grant)?;
    }
    Ok(())
}

impl Wanted<'_> {
    /// Returns the first page and the one after the last.
    fn pages(&self) -> (usize, usize) {
        (self.from / PAGE, self.end.div_ceil(PAGE))
    }

    fn is_there(&self) -> bool {
        let (first, end) = self.pages();
        let pages = &self.cache.pages;
        end <= pages.len() && pages[first..end].iter().all(|p| Arc::strong_count(p) == 1)
    }

    fn fill(self, grant: &mut Vec<Page>) -> Result<()> {
        let (first, end) = self.pages();
        let Cache { pool, pages, .. } = self.cache;
        for index in first..end {
            if pages
                .get_mut(index)
                .is_some_and(|p| Arc::get_mut(p).is_some())
            {
                continue;
            }
            let mut page = match grant.pop() {
                Some(page) => page,
                // Another holder has come since the pages were counted.
                None => pool.take(1)?.swap_remove(0),
            };
            let used = self.from.saturating_sub(index * PAGE);
            match pages.get_mut(index) {
                Some(old) => {
                    page.copy_from(old, used);
                    *old = Arc::new(page);
                }
                None => pages.push(Arc::new(page)),
            }
        }
        Ok(())
    }
}
