//! What clients ask about us: `pg_catalog`, `information_schema` with PostgreSQL's names of types, and the functions
//! that go with them.
//!
//! Not here: our own tables, which are the engine's. The law: the tables that `godwit query` sees are seen here too, at
//! once; what is here is not seen there.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList,
    SchemaProvider, TableProvider,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::scalar::ScalarValue;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::{PgCatalogContextProvider, Role};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;

use super::session::Session;
use crate::query::Engine;

/// The database that every client is in, whatever it asked for.
const DATABASE: &str = "godwit";

/// The one who logs in until there are users.
const ROLE: &str = "local";

/// The context that every connection's is made from.
pub(crate) fn context(engine: &Engine) -> Result<SessionContext> {
    let ours = engine.context();
    let public = ours.catalog(DATABASE).and_then(|catalog| catalog.schema("public"));
    let public = public.ok_or_else(|| DataFusionError::Internal("there is no schema `public`".to_owned()))?;
    let catalog = MemoryCatalogProvider::new();
    // The same tables, not a copy: what is registered later is seen here too.
    catalog.register_schema("public", public)?;
    let list: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
    list.register_catalog(DATABASE.to_owned(), Arc::new(catalog));
    let mut config = ours.copied_config();
    // `information_schema` is our own, below.
    config = config.with_information_schema(false).with_create_default_catalog_and_schema(false);
    let state = SessionStateBuilder::new_from_existing(ours.state())
        .with_catalog_list(Arc::clone(&list))
        .with_config(config)
        .build();
    let context = SessionContext::new_with_state(state);
    setup_pg_catalog(&context, DATABASE, Roles).map_err(|error| *error)?;
    let catalog = list.catalog(DATABASE).expect("registered above");
    let information = Information { list: Arc::clone(&list), rest: InformationSchemaProvider::new(list) };
    catalog.register_schema("information_schema", Arc::new(information))?;
    let text = |name: &str, value: &'static str| -> ScalarUDF {
        create_udf(
            name,
            vec![],
            DataType::Utf8,
            Volatility::Stable,
            Arc::new(move |_| Ok(ColumnarValue::Scalar(value.into()))),
        )
    };
    let owner = Arc::new(|_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ROLE.into())));
    context.register_udf(create_udf(
        "pg_get_userbyid",
        vec![DataType::Int32],
        DataType::Utf8,
        Volatility::Stable,
        owner,
    ));
    let version = concat!("PostgreSQL 16.6 (Godwit ", env!("CARGO_PKG_VERSION"), ")");
    context.register_udf(text("version", version));
    context.register_udf(text("current_catalog", DATABASE));
    // Comments on objects: there are none.
    for (name, arguments) in [
        ("obj_description", vec![DataType::Int32, DataType::Utf8]),
        ("shobj_description", vec![DataType::Int32, DataType::Utf8]),
        ("col_description", vec![DataType::Int32, DataType::Int32]),
        ("pg_get_function_result", vec![DataType::Int32]),
        ("pg_get_function_arguments", vec![DataType::Int32]),
        ("pg_get_viewdef", vec![DataType::Int32]),
        ("pg_get_indexdef", vec![DataType::Int32]),
        ("pg_size_pretty", vec![DataType::Int64]),
    ] {
        let nothing = Arc::new(|_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None))));
        context.register_udf(create_udf(name, arguments, DataType::Utf8, Volatility::Stable, nothing));
    }
    // A table's size is that of the whole store: `godwit doctor` tells it.
    for name in ["pg_table_size", "pg_database_size", "pg_indexes_size"] {
        let nothing = Arc::new(|_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Int64(None))));
        context.register_udf(create_udf(
            name,
            vec![DataType::Int32],
            DataType::Int64,
            Volatility::Stable,
            nothing,
        ));
    }
    for (name, arguments, value) in [
        ("pg_is_in_recovery", vec![], true),
        ("pg_function_is_visible", vec![DataType::Int32], true),
        ("pg_type_is_visible", vec![DataType::Int32], true),
    ] {
        let constant = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.into())));
        context.register_udf(create_udf(name, arguments, DataType::Boolean, Volatility::Stable, constant));
    }
    Ok(context)
}

/// The context of one connection: with the functions that know it.
pub(crate) fn of_connection(context: &SessionContext, session: &Arc<Session>) -> SessionContext {
    let state = SessionStateBuilder::new_from_existing(context.state()).build();
    let context = SessionContext::new_with_state(state);
    for name in ["session_user", "current_user", "user", "current_role"] {
        let session = Arc::clone(session);
        let who = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(session.user().into())));
        context.register_udf(create_udf(name, vec![], DataType::Utf8, Volatility::Stable, who));
    }
    context.register_udf(ScalarUDF::from(settings::CurrentSetting::new(Arc::clone(session))));
    context
}

/// Who there is: one who reads.
#[derive(Debug, Clone)]
struct Roles;

#[async_trait]
impl PgCatalogContextProvider for Roles {
    async fn roles(&self) -> Vec<String> {
        vec![ROLE.to_owned()]
    }

    async fn role(&self, name: &str) -> Option<Role> {
        (name == ROLE).then(|| Role {
            name: ROLE.to_owned(),
            is_superuser: false,
            can_login: true,
            can_create_db: false,
            can_create_role: false,
            can_create_user: false,
            can_replication: false,
            grants: Vec::new(),
            inherited_roles: Vec::new(),
        })
    }
}

/// `information_schema`: the engine's, but for the columns.
#[derive(Debug)]
struct Information {
    list: Arc<dyn CatalogProviderList>,
    rest: InformationSchemaProvider,
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        self.rest.table_names()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.rest.table_exist(name)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name != "columns" {
            return self.rest.table(name).await;
        }
        let mut columns = Columns::default();
        for catalog_name in self.list.catalog_names() {
            let Some(catalog) = self.list.catalog(&catalog_name) else { continue };
            for schema_name in catalog.schema_names() {
                if schema_name == "information_schema" {
                    continue;
                }
                let Some(schema) = catalog.schema(&schema_name) else { continue };
                for table_name in schema.table_names() {
                    if let Some(table) = schema.table(&table_name).await? {
                        for (place, field) in table.schema().fields().iter().enumerate() {
                            columns.add([&catalog_name, &schema_name, &table_name], place, field);
                        }
                    }
                }
            }
        }
        Ok(Some(Arc::new(columns.into_table()?)))
    }
}

/// The rows of `information_schema.columns`.
#[derive(Default)]
struct Columns {
    texts: [Vec<Option<String>>; 9],
    places: Vec<i32>,
    precisions: Vec<Option<i32>>,
    moments: Vec<Option<i32>>,
}

impl Columns {
    fn add(&mut self, table: [&String; 3], place: usize, field: &Field) {
        let internal =
            into_pg_type(field.data_type()).map_or_else(|_| "text".to_owned(), |kind| kind.name().to_owned());
        let is_number = matches!(internal.as_str(), "int2" | "int4" | "int8" | "float4" | "float8");
        let precision = match internal.as_str() {
            "int2" => Some(16),
            "int4" => Some(32),
            "int8" => Some(64),
            "float4" => Some(24),
            "float8" => Some(53),
            _ => None,
        };
        self.precisions.push(precision.filter(|_| is_number));
        self.moments.push(internal.starts_with("timestamp").then_some(6));
        self.places.push(i32::try_from(place + 1).unwrap_or(i32::MAX));
        let [catalog, schema, name] = table.map(|text| Some(text.clone()));
        let nullable = if field.is_nullable() { "YES" } else { "NO" };
        let values = [
            catalog,
            schema,
            name,
            Some(field.name().clone()),
            None,
            Some(nullable.to_owned()),
            Some(long_name(&internal).to_owned()),
            Some("pg_catalog".to_owned()),
            Some(internal),
        ];
        for (column, value) in self.texts.iter_mut().zip(values) {
            column.push(value);
        }
    }

    fn into_table(self) -> Result<MemTable> {
        let rows = self.places.len();
        let nothing: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; rows]));
        let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
        let [catalog, schema, table, column, default, nullable, kind, udt_schema, udt_name] =
            self.texts.map(|texts| -> ArrayRef { Arc::new(StringArray::from(texts)) });
        let numbers = |numbers: Vec<Option<i32>>| -> ArrayRef { Arc::new(Int32Array::from(numbers)) };
        let no_number = numbers(vec![None; rows]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("table_catalog", Arc::clone(&catalog)),
            ("table_schema", schema),
            ("table_name", table),
            ("column_name", column),
            ("ordinal_position", Arc::new(Int32Array::from(self.places))),
            ("column_default", default),
            ("is_nullable", nullable),
            ("data_type", kind),
            ("character_maximum_length", Arc::clone(&no_number)),
            ("character_octet_length", Arc::clone(&no_number)),
            ("numeric_precision", numbers(self.precisions)),
            ("numeric_precision_radix", Arc::clone(&no_number)),
            ("numeric_scale", no_number),
            ("datetime_precision", numbers(self.moments)),
            ("interval_type", Arc::clone(&nothing)),
            ("domain_name", nothing),
            ("udt_catalog", catalog),
            ("udt_schema", udt_schema),
            ("udt_name", udt_name),
            ("is_identity", same("NO")),
            ("is_generated", same("NEVER")),
            ("is_updatable", same("NO")),
        ];
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, array)| array).collect())?;
        MemTable::try_new(schema, vec![vec![batch]])
    }
}

/// What the standard calls a type, where PostgreSQL has a name of its own.
fn long_name(internal: &str) -> &str {
    match internal {
        "timestamptz" => "timestamp with time zone",
        "timestamp" => "timestamp without time zone",
        "time" => "time without time zone",
        "float8" => "double precision",
        "float4" => "real",
        "int8" => "bigint",
        "int4" => "integer",
        "int2" => "smallint",
        "bool" => "boolean",
        other if other.starts_with('_') => "ARRAY",
        other => other,
    }
}

/// `current_setting`.
mod settings {
    use std::hash::{Hash, Hasher};
    use std::sync::Arc;

    use arrow::datatypes::DataType;
    use datafusion::error::{DataFusionError, Result};
    use datafusion::logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
    };
    use datafusion::scalar::ScalarValue;

    use crate::postgres::session::Session;

    /// `current_setting(name [, missing_ok])`.
    pub(super) struct CurrentSetting {
        session: Arc<Session>,
        signature: Signature,
    }

    impl CurrentSetting {
        pub(super) fn new(session: Arc<Session>) -> Self {
            let one = TypeSignature::Exact(vec![DataType::Utf8]);
            let two = TypeSignature::Exact(vec![DataType::Utf8, DataType::Boolean]);
            Self { session, signature: Signature::one_of(vec![one, two], Volatility::Stable) }
        }
    }

    impl std::fmt::Debug for CurrentSetting {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("current_setting")
        }
    }

    impl PartialEq for CurrentSetting {
        fn eq(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.session, &other.session)
        }
    }

    impl Eq for CurrentSetting {}

    impl Hash for CurrentSetting {
        fn hash<H: Hasher>(&self, state: &mut H) {
            Arc::as_ptr(&self.session).hash(state);
        }
    }

    impl ScalarUDFImpl for CurrentSetting {
        fn name(&self) -> &'static str {
            "current_setting"
        }

        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
            Ok(DataType::Utf8)
        }

        fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
            let Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(name)))) = arguments.args.first() else {
                return Err(DataFusionError::Execution("current_setting takes one name".to_owned()));
            };
            let may_be_missing = matches!(
                arguments.args.get(1),
                Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
            );
            match self.session.get(name) {
                None if !may_be_missing => Err(DataFusionError::Execution(format!(
                    "there is no variable `{name}`; SHOW ALL lists them"
                ))),
                value => Ok(ColumnarValue::Scalar(ScalarValue::Utf8(value))),
            }
        }
    }
}
