//! A page whose parts between markers are replaced; everything else stays, to the byte.

use std::collections::BTreeMap;

use anyhow::Context;

fn markers(name: &str) -> (String, String) {
    (format!("<!-- measured: {name} -->"), format!("<!-- end of {name} -->"))
}

/// The page with new parts. Every part has to have its place.
pub fn filled(page: &str, parts: &BTreeMap<&'static str, String>) -> anyhow::Result<String> {
    let mut page = page.to_owned();
    for (name, part) in parts {
        let (begin, end) = markers(name);
        let (before, rest) = page
            .split_once(&begin)
            .with_context(|| format!("the page has no place for {name}: {begin} is missing"))?;
        let (_, after) =
            rest.split_once(&end).with_context(|| format!("{begin} is not followed by {end}"))?;
        page = format!("{before}{begin}\n\n{}\n\n{end}{after}", part.trim_end());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_stays() {
        let page = "# By hand\n<!-- measured: one -->\nold\n<!-- end of one -->\nalso by hand\n";
        let new = |part: &str| filled(page, &BTreeMap::from([("one", part.to_owned())])).unwrap();
        let expected =
            "# By hand\n<!-- measured: one -->\n\nnew\n\n<!-- end of one -->\nalso by hand\n";
        assert_eq!(new("new\n"), expected);
        let again = filled(&new("new"), &BTreeMap::from([("one", "new".to_owned())])).unwrap();
        assert_eq!(again, expected, "rendering twice changes nothing");
    }

    #[test]
    fn a_part_without_a_place_is_named() {
        let error = filled("# Page", &BTreeMap::from([("one", String::new())])).unwrap_err();
        assert!(error.to_string().contains("<!-- measured: one -->"), "{error}");
        let page = "<!-- measured: one --> and no end";
        let error = filled(page, &BTreeMap::from([("one", String::new())])).unwrap_err();
        assert!(error.to_string().contains("<!-- end of one -->"), "{error}");
    }
}
