//! `/api/v1/templates`.

use axum::extract::State;
use axum::{Extension, Json};
use daas_core::engine::Caller;

use super::view::{TemplateList, TemplateView};
use crate::app::App;

pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Json<TemplateList> {
    let engine = &app.engine;
    let templates = engine.templates_for(&caller).into_iter();
    Json(TemplateList { templates: templates.map(|t| TemplateView::of(engine, t)).collect() })
}
