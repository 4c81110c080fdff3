use super::*;
use lab::golden::assert_golden;

#[test]
fn the_folder_crds_holds_what_gtm_crds_prints_a_file_for_each() {
    let text = yaml().unwrap();
    let documents: Vec<&str> = text.split("---\n").skip(1).collect();
    let crds = api::crd::all();
    assert_eq!(documents.len(), crds.len());
    for (document, crd) in documents.into_iter().zip(crds) {
        let names = &crd.spec.names;
        assert_golden(&format!("crds/{}_{}.yaml", crd.spec.group, names.plural), document);
    }
}
