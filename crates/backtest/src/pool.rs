use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Does `task` for each of `items` on `threads` threads, one item a thread, in order of the items. The
/// results come in that order too, whichever was ready first.
///
/// After an error, or once `stop` is set, no further item is begun.
///
/// # Errors
///
/// The error of the first item, in their order, that has one; `Ok(None)` where it was stopped before the end.
pub(crate) fn run<I: Sync, T: Send, E: Send>(
    items: &[I],
    threads: NonZeroUsize,
    stop: &AtomicBool,
    task: impl Fn(&I) -> Result<T, E> + Sync,
) -> Result<Option<Vec<T>>, E> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Vec<Mutex<Option<Result<T, E>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while !stop.load(Ordering::Relaxed) && !failed.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return };
            let result = task(item);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            *results[place].lock() = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(items.len()) {
            scope.spawn(work);
        }
    });
    let mut all = Vec::with_capacity(items.len());
    let mut stopped = false;
    for result in results {
        match result.into_inner() {
            Some(result) => all.push(result?),
            None => stopped = true,
        }
    }
    Ok((!stopped).then_some(all))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..200).collect();
        for count in [1, 2, 7, 500] {
            let squares = run(&items, threads(count), &AtomicBool::new(false), |item| {
                Ok::<_, Infallible>(item * item)
            });
            let Ok(squares) = squares;
            assert_eq!(
                squares.unwrap(),
                items.iter().map(|item| item * item).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn an_error_stops_the_rest() {
        let begun = AtomicUsize::new(0);
        let items: Vec<u32> = (0..1000).collect();
        let result = run(&items, threads(2), &AtomicBool::new(false), |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 3 { Err("three") } else { Ok(*item) }
        });
        assert_eq!(result, Err("three"));
        assert!(begun.load(Ordering::Relaxed) < 1000);
    }

    #[test]
    fn it_stops_when_it_is_told() {
        let stop = AtomicBool::new(false);
        let result = run(&[1, 2, 3], threads(1), &stop, |item| {
            stop.store(true, Ordering::Relaxed);
            Ok::<_, Infallible>(*item)
        });
        assert_eq!(result, Ok(None));
    }
}
