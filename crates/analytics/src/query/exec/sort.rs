//! Rows in order, of which no more are kept than needed.
//!
//! Batches are kept as they came; a list of keys with the place of their row is what is sorted, stably, and at the end the rows are gathered.
//! With a limit of `n` the list is cut to `n` whenever it has grown to `2n + 8,192`, and the rows are gathered then, so that memory is bounded
//! by the limit and each row is moved a constant number of times on average.

use std::cmp::Ordering;

use super::budget::{Budget, HeldRows, Share};
use super::compare::order;
use super::eval::evaluated;
use crate::Result;
use crate::query::plan::SortKey;
use crate::query::vector::{Builder, Rows, Scalar, Vector};

/// Rows that are kept at least before the ones behind the limit are let go.
const SLACK: usize = 8192;

/// The values of a row's keys, and where the row is: its batch, and its number there.
type Place = (Vec<Scalar>, u32, u32);

/// Collects rows and sorts them; rows that are equal stay in the order in which they came.
pub(super) struct Sorter<'s, 'm> {
    keys: &'s [SortKey],
    most: Option<usize>,
    batches: Vec<Rows>,
    rows: Vec<Place>,
    share: Share<'m>,
}

impl<'s, 'm> Sorter<'s, 'm> {
    /// Keeps this many of the first rows; all, where it is `None`.
    pub(super) fn new(keys: &'s [SortKey], most: Option<u64>, share: Share<'m>) -> Self {
        let most = most.and_then(|most| usize::try_from(most).ok());
        Self { keys, most, batches: Vec::new(), rows: Vec::new(), share }
    }

    /// Adds the columns to keep of some rows, over which the keys are evaluated.
    pub(super) fn add(&mut self, rows: &Rows, columns: Vec<Vector>, budget: &Budget) -> Result<()> {
        let (keys, _share) = evaluated(self.keys.iter().map(|key| &key.expr), rows, budget)?;
        let columns = Rows { columns: columns.into_iter().map(Vector::without_dictionary).collect(), len: rows.len };
        let width = size_of::<Place>() + keys.len() * size_of::<Scalar>();
        let values = keys.iter().map(|key| key.bytes(rows.len)).fold(0, usize::saturating_add);
        self.share.grow(columns.bytes().saturating_add(values).saturating_add(width * rows.len))?;
        let batch = self.batches.len() as u32;
        for row in 0..rows.len {
            self.rows.push((keys.iter().map(|key| key.scalar(row)).collect(), batch, row as u32));
        }
        self.batches.push(columns);
        if let Some(most) = self.most
            && self.rows.len() > most.saturating_mul(2).saturating_add(SLACK)
        {
            self.shrink()?;
        }
        Ok(())
    }

    /// Sorts by the keys, the first that differs deciding, and cuts at the limit. Stable: rows that are equal stay in the order in which they came.
    fn sort(&mut self) {
        let keys = self.keys;
        self.rows.sort_by(|(a, ..), (b, ..)| {
            let pairs = keys.iter().zip(a.iter().zip(b));
            pairs.fold(Ordering::Equal, |found, (key, (a, b))| {
                found.then_with(|| order(a, b, &key.expr.ty, key.is_descending))
            })
        });
        if let Some(most) = self.most {
            self.rows.truncate(most);
        }
    }

    /// Lets go of the rows behind the limit.
    fn shrink(&mut self) -> Result<()> {
        self.sort();
        let before = self.share.bytes();
        let Some(rows) = gather(&self.batches, &self.rows, &mut self.share)? else { return Ok(()) };
        let gathered = self.share.bytes() - before;
        for (number, (_, batch, row)) in self.rows.iter_mut().enumerate() {
            *batch = 0;
            *row = number as u32;
        }
        self.batches = vec![rows];
        let values = self.rows.iter().map(|(values, ..)| values.iter().map(Scalar::bytes).sum::<usize>());
        self.share.shrink_to(gathered + values.sum::<usize>() + self.rows.len() * size_of::<Place>());
        Ok(())
    }

    /// Returns the rows in order, from this number on and at most this many; `None` where none was added.
    pub(super) fn finish(mut self, skip: u64, most: Option<u64>) -> Result<Option<HeldRows<'m>>> {
        self.sort();
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let from = whole(skip).min(self.rows.len());
        let until = from.saturating_add(most.map_or(usize::MAX, whole)).min(self.rows.len());
        let before = self.share.bytes();
        let Some(rows) = gather(&self.batches, &self.rows[from..until], &mut self.share)? else { return Ok(None) };
        let Self { batches, rows: places, mut share, .. } = self;
        drop((batches, places));
        let gathered = share.bytes() - before;
        share.shrink_to(gathered);
        Ok(Some(HeldRows { rows, share }))
    }
}

/// Gathers rows of batches into one; `None` where there is no batch.
fn gather(batches: &[Rows], places: &[Place], share: &mut Share<'_>) -> Result<Option<Rows>> {
    let Some(first) = batches.first() else { return Ok(None) };
    let mut columns = Vec::with_capacity(first.columns.len());
    for (number, like) in first.columns.iter().enumerate() {
        if let Vector::Const(_) = like {
            columns.push(like.clone()); // it is the same in each batch
            continue;
        }
        let column = |batch: &u32| &batches[*batch as usize].columns[number];
        let texts = places.iter().map(|(_, batch, row)| column(batch).outside(*row as usize));
        share.grow(texts.sum::<usize>() + places.len() * 8)?;
        let mut builder = Builder::like(like);
        places.iter().for_each(|(_, batch, row)| builder.push_row(column(batch), *row as usize));
        columns.push(builder.finish());
    }
    Ok(Some(Rows { columns, len: places.len() }))
}
