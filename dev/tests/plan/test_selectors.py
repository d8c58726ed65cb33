from dev.tests.tiny import manifest, node
from include.engine.plan import selectors


def arguments(*wanted, others=()):
    everything = [*wanted, *others]
    return selectors.select(wanted, selectors.candidates(everything))


def test_a_name_that_stands_nowhere_else_is_the_whole_selector():
    assert arguments(node("model.shop.orders")) == ("--select", "orders")


def test_a_name_that_is_a_folder_or_stands_in_another_package_is_selected_by_its_path():
    """Unanchored, `orders` would be a prefix of everything in the folder of that name."""
    orders = node("model.shop.orders")
    inside = node("model.shop.lines", fqn=("shop", "orders", "lines"))
    foreign = node("model.lib.orders")
    expected = ("--select", "fqn:[s]hop.orders,package:shop")
    assert arguments(orders, others=[inside]) == expected
    assert arguments(orders, others=[foreign]) == expected


def test_a_version_is_selected_with_its_name():
    assert arguments(node("model.shop.a.v2"), others=[node("model.shop.a.v1")]) == (
        "--select",
        "a.v2",
    )


def test_names_with_special_characters_are_globs_that_hold_none_of_them():
    """Spaces and commas separate selectors, `+` and `@` walk the graph, braces are Jinja's."""
    names = {
        "a b": "fqn:[s]hop.a[!\x01-\x1f!-\U0010fffd]b,package:shop",
        "a\nb": "fqn:[s]hop.a[!\x01-\t\x0b-\U0010fffd]b,package:shop",
        "a,b": "fqn:[s]hop.a[+--]b,package:shop,fqn:shop.a[!+-]b",
        "@a+": "fqn:[s]hop.[@]a[+],package:shop",
        "{{ }}": "fqn:[s]hop.[{][{][!\x01-\x1f!-\U0010fffd][}][}],package:shop",
        "a*b?[c]": "fqn:[s]hop.a[*]b[?][[]c],package:shop",
        "$(a)`;&'\"": "fqn:[s]hop.[$][(]a[)][`][;][&]['][\"],package:shop",
        "größe": "fqn:[s]hop.größe,package:shop",
    }
    for name, selector in names.items():
        assert arguments(node("model.shop.x", name=name, fqn=("shop", name))) == (
            "--select",
            selector,
        )


def test_paths_that_read_the_same_are_told_apart_by_their_file():
    """dbt takes the dot in a name for a folder."""
    dotted = node(
        "model.shop.a.b", name="a.b", fqn=("shop", "a.b"), path="models/a.b.sql", versioned=False
    )
    nested = node("model.shop.b", fqn=("shop", "a", "b"), path="models/a/b.sql")
    assert arguments(dotted, others=[nested]) == (
        "--select",
        "fqn:[s]hop.a.b,package:shop,file:a.b.sql",
    )
    assert arguments(nested, others=[dotted]) == (
        "--select",
        "fqn:[s]hop.a.b,package:shop,file:b.sql",
    )


def test_tests_of_one_name_are_told_apart_by_what_they_test():
    same = {"name": "is_valid", "fqn": ("shop", "is_valid"), "path": "models/_models.yml"}
    first = node("test.shop.is_valid.1", "model.shop.a", **same)
    second = node("test.shop.is_valid.2", "source.shop.raw.t", **same)
    third = node("test.shop.is_valid.3", "model.shop.a", "model.shop.b", **same)
    m = manifest(
        node("model.shop.a"), node("model.shop.b"), node("source.shop.raw.t"), first, second, third
    )
    among = selectors.candidates([first, second, third])
    path = "fqn:[s]hop.is_valid,package:shop,file:_models.yml"
    assert selectors.select_tests([first], among, m.nodes) == (
        "--select",
        f"{path},fqn:[s]hop.a,file:a.sql",
        "--exclude",
        f"{path},fqn:[s]hop.b,file:b.sql",
        "--indirect-selection",
        "eager",
    )
    assert selectors.select_tests([second], among, m.nodes) == (
        "--select",
        f"{path},source:shop.raw.t",
        "--indirect-selection",
        "eager",
    )
    assert selectors.select_tests([first, second, third], among, m.nodes) == (
        "--select",
        "fqn:[s]hop.is_valid,package:shop",
        "--indirect-selection",
        "empty",
    )


def test_a_test_that_is_called_like_a_model_does_not_bring_that_models_other_tests():
    """dbt reads the name as the model's too, and picks all tests of it: files tell them apart, and
    what is in the same file is excluded.
    """
    same = {"name": "a", "fqn": ("shop", "a"), "path": "models/_models.yml"}
    wanted = node("test.shop.a.1", "model.shop.a", **same)
    elsewhere = node("test.shop.a.2", "model.shop.b", **same)
    wider = node("test.shop.a_and_b.3", "model.shop.a", "model.shop.b", path="models/_models.yml")
    m = manifest(node("model.shop.a"), node("model.shop.b"), wanted, elsewhere, wider)
    among = selectors.candidates([wanted, elsewhere, wider])
    assert selectors.select_tests([wanted], among, m.nodes) == (
        "--select",
        "fqn:[s]hop.a,package:shop,file:_models.yml,file:a.sql",
        "--exclude",
        "fqn:[s]hop.a_and_b,package:shop,file:_models.yml,fqn:[s]hop.b,file:b.sql",
        "--indirect-selection",
        "eager",
    )
