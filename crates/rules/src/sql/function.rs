//! The functions: their names, what they take, what they do.
//!
//! Not here: those whose arguments are read when the statement is loaded (`parser`: cast, patterns, times). The laws: a name, a number
//! of arguments or a literal that cannot be right is refused at load; an argument that turns out wrong makes Undefined.

mod hash;

use std::borrow::Cow;

use super::node::Scope;
use super::value::{Value, number_of};
use super::{SQL_VERSION, number, text};

/// A function's work.
pub(crate) type Call = fn(&[Cow<'_, Value>], &Scope<'_>) -> Value;

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Any,
    Number,
    Text,
    Object,
    Array,
}

/// A function.
pub(crate) struct Function {
    /// As it is written; case counts for nothing.
    pub(crate) name: &'static str,
    /// What its arguments must be.
    pub(crate) takes: &'static [Want],
    /// Fewest arguments.
    pub(crate) least: usize,
    /// Whether the last kind of argument may be repeated.
    pub(crate) repeats: bool,
    pub(crate) call: Call,
}

use Want::{Any, Array, Number, Object, Text};

const fn exactly(name: &'static str, takes: &'static [Want], call: Call) -> Function {
    Function { name, takes, least: takes.len(), repeats: false, call }
}

const fn at_least(least: usize, name: &'static str, takes: &'static [Want], call: Call) -> Function {
    Function { name, takes, least, repeats: false, call }
}

/// Every function whose arguments are all worked out per message.
pub(crate) const TABLE: &[Function] = &[
    // The message.
    at_least(0, "topic", &[Number], topic),
    exactly("timestamp", &[], |_, scope| Value::Int(scope.context.time_ms.into())),
    exactly("clientid", &[], |_, scope| Value::text_of(scope.context.client_id.unwrap_or("n/a"))),
    exactly("principal", &[], |_, scope| scope.context.principal.map_or(Value::Undefined, Value::text_of)),
    exactly("accountid", &[], |_, scope| Value::text_of(scope.context.account_id)),
    exactly("traceid", &[], |_, scope| Value::text_of(scope.context.trace_id)),
    exactly("newuuid", &[], newuuid),
    exactly("sql_version", &[], |_, _| Value::text_of(SQL_VERSION)),
    exactly("get_mqtt_property", &[Text], get_mqtt_property),
    at_least(0, "get_user_properties", &[Text], get_user_properties),
    // What is there.
    exactly("isNull", &[Any], |arguments, _| Value::Bool(*arguments[0] == Value::Null)),
    exactly("isUndefined", &[Any], |arguments, _| Value::Bool(*arguments[0] == Value::Undefined)),
    exactly("nanvl", &[Any, Any], number::nanvl),
    exactly("get", &[Any, Any], get),
    exactly("get_or_default", &[Any, Any], get_or_default),
    // Text.
    exactly("length", &[Text], text::length),
    exactly("numbytes", &[Text], text::numbytes),
    exactly("lower", &[Text], text::lower),
    exactly("upper", &[Text], text::upper),
    exactly("trim", &[Text], text::trim),
    exactly("ltrim", &[Text], text::ltrim),
    exactly("rtrim", &[Text], text::rtrim),
    exactly("lpad", &[Text, Number], text::lpad),
    exactly("rpad", &[Text, Number], text::rpad),
    at_least(2, "substring", &[Text, Number, Number], text::substring),
    exactly("indexof", &[Text, Text], text::indexof),
    exactly("startswith", &[Text, Text], text::startswith),
    exactly("endswith", &[Text, Text], text::endswith),
    Function { name: "concat", takes: &[Any], least: 1, repeats: true, call: text::concat },
    exactly("replace", &[Text, Text, Text], text::replace),
    exactly("chr", &[Number], text::chr),
    // Hashes.
    exactly("md2", &[Text], hash::md2),
    exactly("md5", &[Text], hash::md5),
    exactly("sha1", &[Text], hash::sha1),
    exactly("sha224", &[Text], hash::sha224),
    exactly("sha256", &[Text], hash::sha256),
    exactly("sha384", &[Text], hash::sha384),
    exactly("sha512", &[Text], hash::sha512),
    // Numbers.
    exactly("abs", &[Number], number::abs),
    exactly("ceil", &[Number], number::ceil),
    exactly("floor", &[Number], number::floor),
    exactly("round", &[Number], number::round),
    exactly("trunc", &[Number, Number], number::trunc),
    exactly("mod", &[Number, Number], number::remainder),
    exactly("remainder", &[Number, Number], number::remainder),
    exactly("power", &[Number, Number], number::power),
    exactly("sqrt", &[Number], number::sqrt),
    exactly("exp", &[Number], number::exp),
    exactly("ln", &[Number], number::ln),
    exactly("log", &[Number], number::log),
    exactly("sign", &[Number], number::sign),
    exactly("sin", &[Number], number::sin),
    exactly("cos", &[Number], number::cos),
    exactly("tan", &[Number], number::tan),
    exactly("asin", &[Number], number::asin),
    exactly("acos", &[Number], number::acos),
    exactly("atan", &[Number], number::atan),
    exactly("atan2", &[Number, Number], number::atan2),
    exactly("sinh", &[Number], number::sinh),
    exactly("cosh", &[Number], number::cosh),
    exactly("tanh", &[Number], number::tanh),
    exactly("bitand", &[Number, Number], number::bitand),
    exactly("bitor", &[Number, Number], number::bitor),
    exactly("bitxor", &[Number, Number], number::bitxor),
    exactly("bitnot", &[Number], number::bitnot),
    exactly("rand", &[], number::rand),
];

/// Functions that the parser compiles itself, because some of their arguments must be literals.
pub(crate) const SPECIAL: &[&str] = &[
    "cast",
    "encode",
    "decode",
    "regexp_matches",
    "regexp_replace",
    "regexp_substr",
    "parse_time",
    "time_to_epoch",
    "transform",
];

/// Functions of AWS that need what is not here, with the reason.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    ("get_thing_shadow", "shadows are not part of this version; store what you need in the payload"),
    ("aws_lambda", "it calls a service of AWS; use a `webhook` action"),
    ("get_dynamodb", "it reads a table of AWS; put what is needed into the payload"),
    ("get_registry_data", "it reads a registry of AWS; alert rules see a device's attributes"),
    ("get_secret", "it reads a secret of AWS; a `webhook` action has `secret` and `headers`"),
    ("machinelearning_predict", "it calls a service of AWS; use a `webhook` action"),
    ("sourceip", "the journal does not keep the address of a publisher"),
];

/// The function of this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLE.iter().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// Every name that may be called, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|function| function.name).chain(SPECIAL.iter().copied())
}

impl Function {
    /// Why this many arguments are wrong, if they are.
    pub(crate) fn count_fault(&self, given: usize) -> Option<String> {
        let most = if self.repeats { usize::MAX } else { self.takes.len() };
        let words =
            |count: usize| if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") };
        let takes = match (self.least, most) {
            (least, most) if (least..=most).contains(&given) => return None,
            (least, usize::MAX) => format!("at least {}", words(least)),
            (least, most) if least == most => words(least),
            (least, most) => format!("{least} to {}", words(most)),
        };
        Some(format!("`{}` takes {takes}; here are {given}", self.name))
    }

    /// What its argument number `at` must be.
    pub(crate) fn want(&self, at: usize) -> Want {
        self.takes.get(at).or(self.takes.last()).copied().unwrap_or(Any)
    }
}

impl Want {
    /// Whether a literal can be meant.
    pub(crate) fn accepts(self, literal: &Value) -> bool {
        match (self, literal) {
            (Any, _) => true,
            (Number, Value::Text(text)) => number_of(text).is_some(),
            (Number, literal) => matches!(literal, Value::Int(_) | Value::Decimal(_)),
            (Text, literal) => !matches!(literal, Value::Null | Value::Undefined),
            (Object, literal) => matches!(literal, Value::Object(_)),
            (Array, literal) => matches!(literal, Value::Array(_)),
        }
    }

    pub(crate) fn shown(self) -> &'static str {
        match self {
            Any => "any value",
            Number => "a number",
            Text => "text",
            Object => "an object",
            Array => "an array",
        }
    }
}

fn topic(arguments: &[Cow<'_, Value>], scope: &Scope<'_>) -> Value {
    match arguments.first() {
        None => Value::text_of(scope.context.topic),
        Some(position) => {
            let position = position.int().and_then(|position| usize::try_from(position).ok());
            let level = position.and_then(|position| scope.context.level(position));
            level.map_or(Value::Undefined, Value::text_of)
        }
    }
}

/// A random UUID (version 4) of the evaluation's own draws.
fn newuuid(_: &[Cow<'_, Value>], scope: &Scope<'_>) -> Value {
    let mut bytes = scope.draws.draw();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Value::Text(parts.join("-"))
}

/// The n-th of an array or of a text's characters, or the member of an object.
fn get(arguments: &[Cow<'_, Value>], _: &Scope<'_>) -> Value {
    let index = || arguments[1].int().and_then(|index| usize::try_from(index).ok());
    let found = match arguments[0].as_ref() {
        Value::Array(values) => index().and_then(|index| values.get(index)).cloned(),
        Value::Text(text) => index().and_then(|index| text.chars().nth(index)).map(Value::text_of),
        object => arguments[1].text().and_then(|name| object.member(&name).cloned()),
    };
    found.unwrap_or(Value::Undefined)
}

fn get_or_default(arguments: &[Cow<'_, Value>], _: &Scope<'_>) -> Value {
    let chosen = if *arguments[0] == Value::Undefined { &arguments[1] } else { &arguments[0] };
    chosen.as_ref().clone()
}

/// `format_indicator`, `content_type`, `response_topic` or `correlation_data` of MQTT 5.
fn get_mqtt_property(arguments: &[Cow<'_, Value>], scope: &Scope<'_>) -> Value {
    let (Some(name), Some(properties)) = (arguments[0].text(), scope.context.properties) else {
        return Value::Undefined;
    };
    let found = match name.as_str() {
        "format_indicator" => {
            Some(if properties.payload_is_utf8 { "UTF8_DATA" } else { "UNSPECIFIED_BYTES" }.to_owned())
        }
        "content_type" => properties.content_type.as_ref().map(ToString::to_string),
        "response_topic" => properties.response_topic.as_ref().map(ToString::to_string),
        "correlation_data" => properties.correlation_data.as_ref().map(|bytes| text::base64(bytes)),
        _ => None,
    };
    found.map_or(Value::Undefined, Value::Text)
}

/// All user properties as an array of objects, or the values of one.
fn get_user_properties(arguments: &[Cow<'_, Value>], scope: &Scope<'_>) -> Value {
    let user = scope.context.properties.map_or(&[][..], |properties| &properties.user);
    let Some(wanted) = arguments.first() else {
        let object = |(name, value): &(_, _)| Value::Object(vec![(ToString::to_string(name), named(value))]);
        return Value::Array(user.iter().map(object).collect());
    };
    let Some(wanted) = wanted.text() else { return Value::Undefined };
    let values = user.iter().filter(|(name, _)| **name == *wanted).map(|(_, value)| named(value));
    let values: Vec<Value> = values.collect();
    if values.is_empty() { Value::Undefined } else { Value::Array(values) }
}

fn named(text: &bytestring::ByteString) -> Value {
    Value::text_of(text.to_string())
}

/// `transform('enrichArray', attributes, values)`: every object of an array with the members of another beside its own.
pub(crate) fn enrich_array(arguments: &[Cow<'_, Value>], _: &Scope<'_>) -> Value {
    let (Value::Object(attributes), Value::Array(values)) = (arguments[0].as_ref(), arguments[1].as_ref())
    else {
        return Value::Undefined;
    };
    let mut enriched = Vec::with_capacity(values.len());
    for value in values {
        let Value::Object(members) = value else { return Value::Undefined };
        let mut members = members.clone();
        for attribute in attributes {
            if !members.iter().any(|member| member.0 == attribute.0) {
                members.push(attribute.clone());
            }
        }
        enriched.push(Value::Object(members));
    }
    Value::Array(enriched)
}
