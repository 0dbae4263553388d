//! The queue of jobs whose objects may not be awake yet.
//!
//! A line of objects, with a line of jobs each. An object that another event wakes is served at once, out of turn: it costs no
//! room. Callers that have gone are skipped when they come to the front, so that leaving costs nothing while the queue is long.
//!
//! Only objects are bounded, not their events: jobs of an object that is awake never come here. The bound on jobs is the
//! host's ([`HostOptions::queue`](super::options::HostOptions::queue)), by tickets that are taken before a job is sent.
//! `order` may name an object twice, or one whose jobs another wake has taken: such entries are skipped at the front, which
//! costs each of them one look.

use std::collections::{HashMap, HashSet, VecDeque};

type Id = [u8; 32];

/// Jobs by object. Objects are served in the order of their first jobs; each step costs the same, however long the queue is.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    order: VecDeque<Id>,
    jobs: HashMap<Id, VecDeque<T>>,
    /// Objects that another event has woken meanwhile.
    woken: Vec<Id>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), jobs: HashMap::new(), woken: Vec::new() }
    }
}

impl<T> Waiting<T> {
    /// Number of jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.jobs.values().map(VecDeque::len).sum()
    }

    /// Whether no job waits.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Adds a job at the end of its object's queue.
    pub(super) fn push(&mut self, id: Id, job: T) {
        let jobs = self.jobs.entry(id).or_default();
        if jobs.is_empty() {
            self.order.push_back(id);
        }
        jobs.push_back(job);
    }

    /// Notes that an object is awake. Returns whether jobs wait for it.
    pub(super) fn wake(&mut self, id: &Id) -> bool {
        let waits = self.jobs.contains_key(id);
        if waits {
            self.woken.push(*id);
        }
        waits
    }

    /// Returns the object whose jobs are next: one that is awake, or the one that has waited for longest. Jobs that `is_gone`
    /// names are dropped.
    pub(super) fn next(&mut self, is_gone: impl Fn(&T) -> bool) -> Option<Id> {
        while let Some(id) = self.woken.pop() {
            if self.has_jobs(&id, &is_gone) {
                return Some(id);
            }
        }
        while let Some(id) = self.order.front().copied() {
            if self.has_jobs(&id, &is_gone) {
                return Some(id);
            }
            self.order.pop_front();
        }
        None
    }

    /// Whether jobs wait for this object.
    fn has_jobs(&mut self, id: &Id, is_gone: impl Fn(&T) -> bool) -> bool {
        let Some(jobs) = self.jobs.get_mut(id) else { return false };
        // Those behind the first one that is not gone are looked at when they are taken.
        while jobs.front().is_some_and(&is_gone) {
            jobs.pop_front();
        }
        let has_jobs = !jobs.is_empty();
        if !has_jobs {
            self.jobs.remove(id);
        }
        has_jobs
    }

    /// Takes the jobs of an object.
    pub(super) fn take(&mut self, id: &Id) -> VecDeque<T> {
        self.jobs.remove(id).unwrap_or_default()
    }

    /// Takes the jobs that `is_over` names, of all objects.
    pub(super) fn take_if(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        let mut over = Vec::new();
        self.jobs.retain(|_, jobs| {
            let (taken, kept) = std::mem::take(jobs).into_iter().partition::<VecDeque<T>, _>(&is_over);
            over.extend(taken);
            *jobs = kept;
            !jobs.is_empty()
        });
        let mut seen = HashSet::new();
        self.order.retain(|id| self.jobs.contains_key(id) && seen.insert(*id));
        over
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn id(number: u32) -> Id {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        id
    }

    #[test]
    fn serving_a_long_queue_looks_at_each_job_a_few_times() {
        let mut waiting = Waiting::default();
        let looks = Cell::new(0);
        for number in 0..10_000 {
            waiting.push(id(number), number);
        }
        let look = |_: &u32| {
            looks.set(looks.get() + 1);
            false
        };
        for number in 0..10_000 {
            let next = waiting.next(look).expect("jobs wait");
            assert_eq!(waiting.take(&next), [number], "objects are served in the order of their jobs");
            waiting.next(look); // finds no room, and ends the search
        }
        assert!(waiting.is_empty());
        assert!(looks.get() <= 40_000, "{} looks", looks.get());
    }

    #[test]
    fn jobs_of_a_woken_object_come_first_and_together() {
        let mut waiting = Waiting::default();
        for (object, job) in [(1, "a"), (2, "b"), (1, "c"), (2, "d"), (3, "e")] {
            waiting.push(id(object), job);
        }
        assert_eq!(waiting.len(), 5);
        assert!(waiting.wake(&id(2)) && !waiting.wake(&id(9)));
        assert_eq!(waiting.next(|_| false), Some(id(2)));
        assert_eq!(waiting.take(&id(2)), ["b", "d"]);
        assert_eq!(waiting.next(|job| *job == "a"), Some(id(1)));
        assert_eq!(waiting.take_if(|job| *job == "c"), ["c"]);
        assert_eq!(waiting.next(|_| false), Some(id(3)));
        assert_eq!(waiting.next(|_| true), None);
        assert!(waiting.is_empty());
    }
}
