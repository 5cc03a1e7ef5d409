//! Functions whose answer may be far larger than what they are given: refused by their arguments, before they begin.
//!
//! The engine counts the memory of operators (sorting, grouping, joining), not that of an expression: a letter repeated a
//! billion times is a gigabyte that nobody counted, and twenty `x || x` after one another are a million times x. Here the
//! bytes of an answer are worked out first. Not here: what such a function does, which stays the engine's. The law: no
//! call of these functions makes more than [`ANSWER_BYTES_MAX`] for one batch of rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::concat_elements::concat_elements_utf8;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Documentation, Expr, ExprSchemable, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Most bytes that one call may make of a batch: 8,192 rows of 8 KiB each, or one text of 64 MiB. A fourth of what a query may use by
/// default, for several such answers are held at a time.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A replacement of `regexp_replace` up to this many bytes is taken as it comes: what it makes is a small multiple of what is there.
const SHORT_REPLACEMENT: u64 = 64;

/// The functions that are bounded, and how their answers grow.
const BOUNDED: [(&str, Growth); 12] = [
    ("repeat", Growth::Times),
    ("array_repeat", Growth::Times),
    ("lpad", Growth::Padded),
    ("rpad", Growth::Padded),
    ("array_resize", Growth::Padded),
    ("replace", Growth::Replaced),
    ("regexp_replace", Growth::Replaced),
    ("range", Growth::Stepped),
    ("generate_series", Growth::Stepped),
    ("concat", Growth::Sum),
    ("concat_ws", Growth::Sum),
    ("array_concat", Growth::Sum),
];

/// Puts the bounded functions in the place of the engine's own.
///
/// # Errors
/// The engine has no place for a rewrite of `||`.
pub(super) fn register(context: &SessionContext) -> Result<()> {
    for (name, growth) in BOUNDED {
        let engines_own = context.state().scalar_functions().get(name).cloned();
        if let Some(inner) = engines_own {
            let aliases = inner.aliases().to_vec();
            context.register_udf(ScalarUDF::from(Bounded { inner, aliases, growth }));
        }
    }
    context.state_ref().write().register_function_rewrite(Arc::new(JoinedByFunction))
}

/// How the bytes of an answer follow from the arguments of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// The first, as often as the second says.
    Times,
    /// As many as the second says.
    Padded,
    /// The first, each place in it as long as the third.
    Replaced,
    /// Eight bytes a step, from the first to the second (from 0 to the first) by the third.
    Stepped,
    /// All together.
    Sum,
}

/// A function of the engine that looks at what it would make before it makes it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
    growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn return_field_from_args(&self, given: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(given)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(given)
    }

    fn simplify(&self, given: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        // What `concat` makes of constants is no longer than the text of the query.
        self.inner.simplify(given, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), self.growth, &given)?;
        self.inner.invoke_with_args(given)
    }
}

/// `left || right` of texts: empty where one is, as SQL says.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Utf8; given.len()])
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), Growth::Sum, &given)?;
        let constant = given.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { given.number_rows };
        let text = |place: usize| {
            cast(&given.args[place].to_array(rows)?, &DataType::Utf8).map_err(DataFusionError::from)
        };
        let joined: ArrayRef =
            Arc::new(concat_elements_utf8(text(0)?.as_string::<i32>(), text(1)?.as_string::<i32>())?);
        if constant {
            return Ok(ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(&joined, 0)?));
        }
        Ok(ColumnarValue::Array(joined))
    }
}

/// Makes a function of `||` between texts, so that it can be bounded; arrays are joined by `array_concat` already.
#[derive(Debug)]
struct JoinedByFunction;

impl FunctionRewrite for JoinedByFunction {
    fn name(&self) -> &str {
        "joined_by_function"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let is_text = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_string());
        if !is_text(&left) && !is_text(&right) {
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::StringConcat,
                right,
            })));
        }
        let joined = Joined { signature: Signature::user_defined(Volatility::Immutable) };
        let function = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(joined)), vec![*left, *right]);
        Ok(Transformed::yes(Expr::ScalarFunction(function)))
    }
}

/// Refuses a call that would make too much.
fn check(name: &str, growth: Growth, given: &ScalarFunctionArgs) -> Result<()> {
    let rows = given.number_rows.max(1);
    let mut arguments = given.args.iter().map(|value| Sizes::of(value, rows)).collect::<Result<Vec<_>>>()?;
    if growth == Growth::Stepped && arguments.len() == 1 {
        arguments.insert(0, Sizes::one(0));
    }
    let mut bytes: u64 = 0;
    // A call of constants is made once, not for each row.
    let constant = arguments.iter().all(Sizes::is_one);
    for row in 0..if constant { 1 } else { rows } {
        bytes = bytes.saturating_add(growth.bytes(&arguments, row));
        if bytes > ANSWER_BYTES_MAX {
            return Err(DataFusionError::Execution(format!(
                "`{name}` would make more than {ANSWER_BYTES_MAX} bytes: ask for less of it"
            )));
        }
    }
    Ok(())
}

impl Growth {
    /// The bytes of the answer for `row`, or a little more.
    fn bytes(self, given: &[Sizes], row: usize) -> u64 {
        let length = |place: usize| given.get(place).map_or(0, |sizes| sizes.length(row));
        let number = |place: usize| given.get(place).and_then(|sizes| sizes.number(row));
        let count = |place: usize| number(place).map_or(0, |n| u64::try_from(n).unwrap_or(0));
        match self {
            Self::Times => length(0).max(1).saturating_mul(count(1)),
            Self::Padded => count(1).max(length(0)).saturating_mul(length(2).clamp(1, 8)),
            Self::Replaced if length(2) <= SHORT_REPLACEMENT => length(0),
            Self::Replaced => length(0).saturating_add(1).saturating_mul(length(2)),
            Self::Stepped => {
                let step = number(2).map_or(1, |step| step.unsigned_abs().max(1));
                match (number(0), number(1)) {
                    (Some(from), Some(to)) => (from.abs_diff(to) / step).saturating_add(1).saturating_mul(8),
                    _ => 0,
                }
            }
            Self::Sum => (0..given.len()).map(length).fold(0, u64::saturating_add),
        }
    }
}

/// What an argument weighs, row by row: the bytes of texts, eight for each element of a list, numbers as they are.
struct Sizes {
    lengths: Option<ArrayRef>,
    numbers: Option<ArrayRef>,
    /// The same for all rows.
    one: bool,
}

impl Sizes {
    fn of(value: &ColumnarValue, rows: usize) -> Result<Self> {
        let (array, one) = match value {
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
            ColumnarValue::Array(array) => (Arc::clone(array), array.len() == 1 && rows > 1),
        };
        let kind = array.data_type();
        let as_number = |array: &dyn Array| cast(array, &DataType::Int64).map_err(DataFusionError::from);
        let numbers = if kind.is_numeric() { Some(as_number(&array)?) } else { None };
        // What has no length (a moment, a number) is small.
        let lengths = length(&array).ok().map(|lengths| as_number(&lengths)).transpose()?;
        Ok(Self { lengths, numbers, one })
    }

    fn one(number: i64) -> Self {
        let number: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![number]));
        Self { lengths: None, numbers: Some(number), one: true }
    }

    fn is_one(&self) -> bool {
        self.one
    }

    fn at(&self, values: Option<&ArrayRef>, row: usize) -> Option<i64> {
        let values = values?.as_primitive::<Int64Type>();
        let row = if self.one { 0 } else { row };
        (row < values.len() && values.is_valid(row)).then(|| values.value(row))
    }

    fn number(&self, row: usize) -> Option<i64> {
        self.at(self.numbers.as_ref(), row)
    }

    fn length(&self, row: usize) -> u64 {
        match self.at(self.lengths.as_ref(), row) {
            Some(bytes) => u64::try_from(bytes).unwrap_or(0),
            None => 8,
        }
    }
}
