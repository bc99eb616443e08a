//! Of which tasks there was news lately. A page of the due index shows them as they were when it
//! was read; where there was news since it was asked for, memory knows better.

use std::collections::{BTreeMap, VecDeque};

use crate::TaskId;

/// What comes in 5 seconds, the longest that a FoundationDB transaction lives, at 100,000 a second. A
/// page that takes longer is read again.
const NEWS_MAX: usize = if cfg!(test) { 12 } else { 500_000 };

#[derive(Debug, Default)]
pub(super) struct News {
    tasks: VecDeque<TaskId>,
    /// News that was forgotten: the number of the first that is kept.
    forgotten: u64,
    /// Pages being read, by the number of the first news after they were asked for.
    pages: BTreeMap<u64, u32>,
}

impl News {
    /// Notes news of a task, if any page is being read.
    pub(super) fn note(&mut self, id: TaskId) {
        if self.pages.is_empty() {
            return;
        }
        if self.tasks.len() == NEWS_MAX {
            self.tasks.pop_front();
            self.forgotten += 1;
        }
        self.tasks.push_back(id);
    }

    /// A page was asked for. Returns what [`end`](Self::end) wants when it came.
    pub(super) fn begin(&mut self) -> u64 {
        let number = self.forgotten + self.tasks.len() as u64;
        *self.pages.entry(number).or_default() += 1;
        number
    }

    /// A page came, or will not come. Returns the tasks of which there was news meanwhile, sorted; `None` if
    /// there was too much of it.
    pub(super) fn end(&mut self, number: u64) -> Option<Vec<TaskId>> {
        let news = number.checked_sub(self.forgotten).map(|skipped| {
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            let mut tasks: Vec<TaskId> = self.tasks.iter().skip(skipped).copied().collect();
            tasks.sort_unstable();
            tasks
        });
        if let Some(pages) = self.pages.get_mut(&number) {
            *pages -= 1;
            if *pages == 0 {
                self.pages.remove(&number);
            }
        }
        self.forget();
        news
    }

    /// Forgets what no page needs.
    fn forget(&mut self) {
        let kept = self.forgotten + self.tasks.len() as u64;
        let needed = self.pages.first_key_value().map_or(kept, |(number, _)| *number);
        while self.forgotten < needed {
            self.tasks.pop_front();
            self.forgotten += 1;
        }
        if self.tasks.is_empty() {
            self.tasks.shrink_to(1 << 12);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.tasks.capacity() * size_of::<TaskId>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_kept_for_the_oldest_page_and_no_longer() {
        let id = |n: u8| TaskId::from_bytes([n; 16]);
        let mut news = News::default();
        news.note(id(1));
        let first = news.begin();
        news.note(id(3));
        let second = news.begin();
        news.note(id(2));
        let third = news.begin();
        assert_eq!(news.end(third), Some(vec![]));
        assert_eq!(news.end(first), Some(vec![id(2), id(3)]));
        assert_eq!(news.end(second), Some(vec![id(2)]));
        assert_eq!((news.tasks.len(), news.pages.len()), (0, 0));
    }
}
