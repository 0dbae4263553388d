//! Calls of functions: the number and the types of their arguments.

use crate::Result;
use crate::query::plan::{Expr, ExprKind, Function};
use crate::query::position::{Position, error_at};
use crate::query::vector::Vector;
use crate::query::{Type, exec};

/// Most memory in bytes of a constant that is computed beforehand, and most steps. Another is computed within the bounds of the query.
const MOST_CONSTANT: usize = 1 << 20;

/// Makes the call of a function; where all arguments are constants, computes it.
///
/// `AND`, `OR` and `if` are not computed, as one of their sides may fail that is not wanted; nor is a constant of more than 1 MiB, which is left
/// to the run and its budget.
pub(super) fn call(function: Function, arguments: Vec<Expr>, ty: Type, position: Position) -> Result<Expr> {
    let constants: Option<Vec<Vector>> =
        arguments.iter().map(|argument| argument.constant().map(|scalar| Vector::Const(scalar.clone()))).collect();
    let types: Vec<&Type> = arguments.iter().map(|argument| &argument.ty).collect();
    let is_lazy = matches!(function, Function::And | Function::Or | Function::If);
    let is_small = |constants: &[Vector]| {
        exec::most_bytes(&function, constants, &types, 1).max(exec::most_steps(&function, constants)) <= MOST_CONSTANT
    };
    let kind = match constants {
        Some(constants) if !is_lazy && is_small(&constants) => {
            let value = exec::apply(&function, &constants, &types, &ty, 1, &|| Ok(()));
            let value = value.map_err(|failure| failure.at(position))?;
            ExprKind::Const(value.scalar(0))
        }
        _ => ExprKind::Call(function, arguments),
    };
    Ok(Expr { kind, ty, position })
}

/// The arguments of a function, and where it stands.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Vec<Expr>,
    pub(super) position: Position,
}

impl Call {
    /// Fails where the number of arguments is not one of these.
    pub(super) fn count(&self, counts: std::ops::RangeInclusive<usize>) -> Result<()> {
        if counts.contains(&self.arguments.len()) {
            return Ok(());
        }
        let count = match (counts.start(), counts.end()) {
            (least, &usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        let message = format!("{} takes {count} arguments, not {}", self.name, self.arguments.len());
        Err(error_at(self.position, message))
    }

    /// Fails where an argument is not of a kind.
    pub(super) fn check(&self, number: usize, kind: &str, is_fine: impl Fn(&Type) -> bool) -> Result<()> {
        match self.arguments.get(number) {
            Some(argument) if !is_fine(&argument.ty) => {
                let message = format!("argument {} of {} is {kind}, not a {}", number + 1, self.name, argument.ty);
                Err(error_at(argument.position, message))
            }
            _ => Ok(()),
        }
    }

    /// Fails where an argument is not a constant.
    pub(super) fn check_constant(&self, number: usize) -> Result<()> {
        match self.arguments.get(number) {
            Some(argument) if argument.constant().is_none() => {
                let message = format!("argument {} of {} must be a constant", number + 1, self.name);
                Err(error_at(argument.position, message))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn make(self, function: Function, ty: Type) -> Result<Expr> {
        call(function, self.arguments, ty, self.position)
    }
}
