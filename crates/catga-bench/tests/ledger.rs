//! Every number of the ledger is exact: what rose is a regression, what fell must be written down.

use catga_bench::ledger::ROWS;
use catga_buf::CountingAlloc;
use std::collections::HashSet;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

#[test]
fn every_path_allocates_exactly_what_the_ledger_says() {
    let complaints: Vec<_> = ROWS.iter().filter_map(|row| row.complaint(row.measure().unwrap())).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The numbers do not come from one thread's or one run's luck: they hold on fresh threads, too, again and again.
#[test]
fn the_numbers_hold_on_threads_that_come_and_go() {
    for _ in 0..8 {
        std::thread::spawn(every_path_allocates_exactly_what_the_ledger_says).join().unwrap();
    }
}

#[test]
fn a_number_that_differs_is_reported_in_either_direction() {
    let row = ROWS.iter().find(|row| row.name == "notify to 3, event on the heap").unwrap();
    let mut found = row.measure().unwrap();
    found.allocations += 1;
    assert!(row.complaint(found).unwrap().contains("began to allocate"));
    found.allocations -= 2;
    assert!(row.complaint(found).unwrap().contains("became better"));
}

#[test]
fn names_are_unique() {
    let names: HashSet<_> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), ROWS.len());
}
