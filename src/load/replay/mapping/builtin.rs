//! Ready-made mappings of public layouts.

const ALL: [(&str, &str); 5] = [
    ("taobao", include_str!("../mappings/taobao.toml")),
    ("retailrocket", include_str!("../mappings/retailrocket.toml")),
    ("rees46", include_str!("../mappings/rees46.toml")),
    ("olist", include_str!("../mappings/olist.toml")),
    ("otto", include_str!("../mappings/otto.toml")),
];

pub const NAMES: [&str; 5] = ["taobao", "retailrocket", "rees46", "olist", "otto"];

pub fn text(name: &str) -> Option<&'static str> {
    ALL.into_iter().find(|(known, _)| *known == name).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::replay::mapping::Mapping;

    #[test]
    fn each_is_a_mapping() {
        assert_eq!(ALL.map(|(name, _)| name), NAMES);
        for (name, text) in ALL {
            Mapping::parse(name, text).unwrap();
        }
    }
}
