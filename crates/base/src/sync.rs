//! Locks of the standard library whose poisoning is ignored.

use std::sync::{LockResult, PoisonError};

/// Takes a lock, or what a lock protects, also after a thread has panicked while it held it.
///
/// Right where every change under the lock is complete before anything in it can panic: then a panic leaves the state whole, and
/// must not make every later caller panic as well. It is defined for all that answers a [`LockResult`]: `Mutex`, `RwLock`, `Condvar`.
///
/// ```
/// use std::sync::Mutex;
///
/// use isobar_base::sync::IgnorePoison;
///
/// let count = Mutex::new(0);
/// *count.lock().ignore_poison() += 1;
/// assert_eq!(count.into_inner().ignore_poison(), 1);
/// ```
pub trait IgnorePoison {
    /// The guard, or the protected value.
    type Output;

    /// Returns the guard or value, whether the lock is poisoned or not.
    fn ignore_poison(self) -> Self::Output;
}

impl<T> IgnorePoison for LockResult<T> {
    type Output = T;

    fn ignore_poison(self) -> T {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, RwLock};

    use super::*;

    #[test]
    fn what_a_panicking_thread_has_held_can_be_taken() {
        let mutex = Mutex::new(1);
        let lock = RwLock::new(2);
        std::thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _mutex = mutex.lock();
                let _lock = lock.write();
                panic!("while both are held");
            });
            assert!(panics.join().is_err());
        });
        assert!(mutex.is_poisoned() && lock.is_poisoned());
        assert_eq!(*mutex.lock().ignore_poison(), 1);
        assert_eq!(*lock.read().ignore_poison(), 2);
        *lock.write().ignore_poison() = 3;
        assert_eq!(lock.into_inner().ignore_poison(), 3);
    }
}
