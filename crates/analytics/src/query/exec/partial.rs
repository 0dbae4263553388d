//! The groups of a part of the rows, and their states.

use super::aggregate::States;
use super::budget::{Budget, Held, HeldRows};
use super::eval::{eval, evaluated};
use super::groups::{GroupNumbers, Groups};
use crate::Result;
use crate::query::plan::Aggregate;
use crate::query::vector::Rows;

/// Groups of rows, and the states of the calls for each of them.
pub(super) struct Partial<'p, 'm> {
    aggregate: &'p Aggregate,
    budget: &'m Budget,
    groups: Groups<'m>,
    states: Vec<States<'m>>,
}

impl<'p, 'm> Partial<'p, 'm> {
    /// A query without keys has group 0 from the beginning, also without rows.
    pub(super) fn new(aggregate: &'p Aggregate, budget: &'m Budget) -> Result<Self> {
        let mut groups = Groups::new(&aggregate.keys, budget.share());
        let mut states: Vec<States<'m>> =
            aggregate.calls.iter().map(|call| States::new(call, budget.share())).collect();
        if aggregate.keys.is_empty() {
            groups.add_whole();
            states.iter_mut().try_for_each(|states| states.resize(1))?;
        }
        Ok(Self { aggregate, budget, groups, states })
    }

    /// Adds rows. They are evaluated once for the keys and once for each call; the numbers of the rows' groups tie them together.
    pub(super) fn add(&mut self, rows: &Rows) -> Result<()> {
        let Self { aggregate, budget, groups, states } = self;
        let (keys, _share) = evaluated(&aggregate.keys, rows, budget)?;
        let numbers = if keys.is_empty() { Vec::new() } else { groups.assign(&keys, rows.len)? };
        let numbers = if keys.is_empty() { GroupNumbers::Whole } else { GroupNumbers::Each(&numbers) };
        for (call, states) in aggregate.calls.iter().zip(states) {
            let (arguments, _share) = evaluated(&call.arguments, rows, budget)?;
            let condition = call.condition.as_ref().map(|condition| eval(condition, rows, budget)).transpose()?;
            states.resize(groups.len())?;
            let condition = condition.as_ref().map(|condition| &condition.vector);
            states.update(numbers, rows.len, &arguments, condition)?;
        }
        Ok(())
    }

    /// Whether the groups of several parts of the rows can be merged.
    pub(super) fn can_merge(aggregate: &Aggregate) -> bool {
        aggregate.calls.iter().all(States::can_merge)
    }

    /// Takes over the groups of another part of the rows, which are behind these.
    pub(super) fn merge(&mut self, other: Self) -> Result<()> {
        let numbers = self.groups.merge(other.groups)?;
        for (states, more) in self.states.iter_mut().zip(other.states) {
            self.budget.check()?;
            states.resize(self.groups.len())?;
            states.merge(more, &numbers)?;
        }
        Ok(())
    }

    /// Returns one row for each group: keys, then results.
    pub(super) fn finish(self) -> Result<HeldRows<'m>> {
        let len = self.groups.len();
        let (mut columns, mut share) = self.groups.finish();
        for states in self.states {
            let Held { vector, share: of_states } = states.finish()?;
            columns.push(vector);
            share.add(of_states);
        }
        Ok(HeldRows { rows: Rows { columns, len }, share })
    }
}
