"""IAM's judgement, against what its documentation says of each element, and the documents of least privilege."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.aws.authorization import Policies, Right
from awsllm.aws.wildcards import matches_resource, matches_text
from awsllm.errors import ConfigurationError

MODEL = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-lite-v1:0"
THROUGH = {"bedrock:InferenceProfileArn": PROFILE}


def document(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(actions, resources="*", **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


def allows(statement_or_document, action, resource=None, **context):
    wire = statement_or_document
    wire = wire if "Statement" in wire else document(wire)
    return Policies([wire]).allow(Right(action, resource, context.pop("context", context)))


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert not Policies([]).allow(Right("s3:GetObject", "arn:aws:s3:::b/k"))
    assert not allows(allow("s3:GetObject"), "s3:PutObject", "arn:aws:s3:::b/k")


@pytest.mark.parametrize(
    ("pattern", "action", "said"),
    [
        ("s3:GetObject", "S3:getobject", True),  # actions have no case
        ("s3:Get*", "s3:GetObject", True),
        ("s3:*", "s3:GetObject", True),
        ("*", "s3:GetObject", True),
        ("s3:GetObjec?", "s3:GetObject", True),
        ("s3:Get", "s3:GetObject", False),
        ("s3:GetObject+", "s3:GetObject", False),
        (["sqs:*", "s3:GetObject"], "s3:GetObject", True),
    ],
)
def test_actions(pattern, action, said) -> None:
    assert allows(allow(pattern), action, "arn:aws:s3:::b/k") is said


@pytest.mark.parametrize(
    ("pattern", "arn", "said"),
    [
        ("*", "arn:aws:s3:::b/k", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/a/b:c", True),  # the last part is whole
        ("arn:aws:s3:::b", "arn:aws:s3:::b/k", False),
        ("arn:aws:sqs:us-east-1:*:work", "arn:aws:sqs:us-east-1:111122223333:work", True),
        ("arn:aws:sqs:*:work", "arn:aws:sqs:us-east-1:111122223333:work", True),  # at the end of a part: over colons
        ("arn:aws:sqs:*", "arn:aws:sqs:us-east-1:111122223333:work", True),
        ("arn:aws:sqs:us-*-1:work", "arn:aws:sqs:us-east-1:111122223333:x-1:work", False),  # elsewhere not
        ("arn:aws:sqs:u**:work", "arn:aws:sqs:us-east-1:111122223333:work", True),
        ("arn:aws:sqs:us-east-1?111122223333:work", "arn:aws:sqs:us-east-1:111122223333:work", False),
        ("arn:aws:sqs:us-*-1:1:Work", "arn:aws:sqs:us-east-1:1:work", False),  # resources have a case
        ("arn:*:bedrock:*::foundation-model/amazon.*", MODEL, True),
    ],
)
def test_resources(pattern, arn, said) -> None:
    assert matches_resource(((pattern, False),), arn) is said
    assert allows(allow("x:y", pattern), "x:y", arn) is said
    assert allows({"Effect": "Allow", "Action": "x:y", "NotResource": pattern}, "x:y", arn) is not said


def test_what_is_denied_is_denied_whatever_allows_it() -> None:
    both = document(allow("s3:*"), {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::b/keep/*"})
    assert allows(both, "s3:DeleteObject", "arn:aws:s3:::b/k")
    assert not allows(both, "s3:DeleteObject", "arn:aws:s3:::b/keep/k")


def test_all_but_some_actions() -> None:
    rest = {"Effect": "Deny", "NotAction": "bedrock:*", "Resource": "*"}
    both = document(allow("*"), rest)
    assert allows(both, "bedrock:InvokeModel", MODEL)
    assert not allows(both, "s3:GetObject", "arn:aws:s3:::b/k")


def test_a_resource_that_is_not_known() -> None:
    narrow = allow("execute-api:ManageConnections", "arn:aws:execute-api:us-east-1:1:a/prod/POST/@connections/*")
    assert allows(narrow, "execute-api:ManageConnections")
    some = {"Effect": "Deny", "Action": "sqs:*", "Resource": "arn:aws:sqs:us-east-1:1:a"}
    assert allows(document(allow("sqs:*"), some), "sqs:ListQueues")
    assert not allows(document(allow("sqs:*"), {**some, "Resource": "*"}), "sqs:ListQueues")


@pytest.mark.parametrize(
    ("condition", "context", "said"),
    [
        ({"StringEquals": {"k": ["a", "b"]}}, {"K": "b"}, True),
        ({"StringEquals": {"k": "a"}}, {}, False),
        ({"StringEqualsIfExists": {"k": "a"}}, {}, True),
        ({"StringNotEquals": {"k": "a"}}, {}, True),
        ({"StringNotEquals": {"k": ["a", "b"]}}, {"k": "b"}, False),
        ({"StringLike": {"k": "a*"}}, {"k": "abc"}, True),
        ({"StringNotLike": {"k": "a*"}}, {"k": "abc"}, False),
        ({"StringEqualsIgnoreCase": {"k": "A"}}, {"k": "a"}, True),
        ({"Bool": {"k": True}}, {"k": "true"}, True),
        ({"Bool": {"k": "true"}}, {"k": "false"}, False),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "false"}}, {}, False),
        ({"ArnLike": {"k": "arn:aws:s3:::b*"}}, {"k": "arn:aws:s3:::bucket"}, True),
        ({"NumericLessThan": {"k": "10"}}, {"k": "9"}, True),
        ({"NumericLessThan": {"k": "10"}}, {"k": "ten"}, False),
        ({"IpAddress": {"k": "10.0.0.0/8"}}, {"k": "10.1.2.3"}, True),
        ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, {"k": ["a", "b"]}, True),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, {"k": ["a", "b"]}, False),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, {"k": ["a", "b"]}, True),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, {}, False),
        ({"ForAnyValue:StringNotEquals": {"k": ["a"]}}, {"k": ["a", "b"]}, True),
        ({"ForAnyValue:StringNotEquals": {"k": ["a"]}}, {}, False),  # no value is not any value
        ({"ForAnyValue:StringEqualsIfExists": {"k": ["a"]}}, {}, False),
        ({"ForAllValues:StringNotEquals": {"k": ["a"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, {"k": []}, False),
        ({"StringEquals": {"k": "a"}}, {"k": []}, False),
        ({"Null": {"k": "true"}}, {"k": []}, True),
        ({"ArnLike": {"k": "arn:aws:sqs:*:work"}}, {"k": "arn:aws:sqs:us-east-1:1:work"}, False),  # part by part
        ({"DateLessThan": {"k": "2026-01-02T00:00:00Z"}}, {"k": "2026-01-01T23:59:59Z"}, True),
        ({"DateGreaterThan": {"k": "2026-01-02"}}, {"k": "2026-01-01T23:59:59Z"}, False),
        ({"DateGreaterThan": {"k": "1767225600"}}, {"k": "2026-01-02T00:00:00+00:00"}, True),  # 2026-01-01
        ({"DateEquals": {"k": "when"}}, {"k": "2026-01-01"}, False),
        ({"BinaryEquals": {"k": "QUI="}}, {"k": "QUI="}, True),
        ({"BinaryEquals": {"k": "QUI="}}, {"k": "QUM="}, False),
        ({"StringEquals": {"k": "a"}, "Bool": {"l": "true"}}, {"k": "a"}, False),  # all of them
        ({"StringEquals": {"k": "${aws:PrincipalTag/team}"}}, {"k": "x", "aws:PrincipalTag/team": "x"}, True),
        ({"StringEquals": {"k": "${aws:PrincipalTag/team}"}}, {"k": "x"}, False),
    ],
)
def test_conditions(condition, context, said) -> None:
    assert allows(allow("x:y", Condition=condition), "x:y", "arn:aws:s3:::b", context=context) is said


def test_variables_in_resources() -> None:
    own = allow("s3:GetObject", "arn:aws:s3:::b/${aws:username}/*")
    assert allows(own, "s3:GetObject", "arn:aws:s3:::b/anna/k", context={"aws:username": "anna"})
    assert not allows(own, "s3:GetObject", "arn:aws:s3:::b/otto/k", context={"aws:username": "anna"})
    assert not allows(own, "s3:GetObject", "arn:aws:s3:::b/anna/k")


def test_what_a_variable_is_filled_with_is_no_wildcard() -> None:
    star = allow("s3:GetObject", "arn:aws:s3:::b/${*}/${?}${$}")
    assert allows(star, "s3:GetObject", "arn:aws:s3:::b/*/?$")
    assert not allows(star, "s3:GetObject", "arn:aws:s3:::b/x/y$")
    own = allow("s3:GetObject", "arn:aws:s3:::b/${aws:PrincipalTag/team}/k")
    tag = "aws:PrincipalTag/team"
    assert not allows(own, "s3:GetObject", "arn:aws:s3:::b/red/k", context={tag: "*"})
    assert allows(own, "s3:GetObject", "arn:aws:s3:::b/*/k", context={tag: "*"})
    like = allow("x:y", Condition={"StringLike": {"k": "${aws:PrincipalTag/team}-*"}})
    assert allows(like, "x:y", "arn:aws:s3:::b", context={tag: "red", "k": "red-1"})
    assert not allows(like, "x:y", "arn:aws:s3:::b", context={tag: "*", "k": "red-1"})


def test_a_variable_may_have_a_default() -> None:
    own = allow("s3:GetObject", "arn:aws:s3:::b/${aws:PrincipalTag/team, 'all'}/k")
    assert allows(own, "s3:GetObject", "arn:aws:s3:::b/all/k")
    assert allows(own, "s3:GetObject", "arn:aws:s3:::b/red/k", context={"aws:PrincipalTag/team": "red"})
    assert not allows(own, "s3:GetObject", "arn:aws:s3:::b/all/k", context={"aws:PrincipalTag/team": "red"})


def test_a_policy_of_old_has_no_variables() -> None:
    own = allow("s3:GetObject", "arn:aws:s3:::b/${aws:username}")
    for old in ({"Statement": own}, {"Version": "2008-10-17", "Statement": own}):
        assert not allows(old, "s3:GetObject", "arn:aws:s3:::b/anna", context={"aws:username": "anna"})
        assert allows(old, "s3:GetObject", "arn:aws:s3:::b/${aws:username}")


def test_all_but_a_resource_that_is_not_known_is_nothing() -> None:
    rest = {"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::b/${aws:username}"}
    assert not allows(rest, "s3:GetObject", "arn:aws:s3:::b/anna")
    assert allows(rest, "s3:GetObject", "arn:aws:s3:::other/anna")  # whoever it is
    some = {"Effect": "Deny", "Action": "s3:*", "NotResource": "*"}
    assert allows(document(allow("s3:*"), some), "s3:ListAllMyBuckets")


def test_matching_takes_no_longer_than_pattern_and_text_are_long() -> None:
    hard = allow("s3:GetObject", "arn:aws:s3:::" + "*a" * 200 + "*b")
    assert not allows(hard, "s3:GetObject", "arn:aws:s3:::" + "a" * 2000)
    assert allows(hard, "s3:GetObject", "arn:aws:s3:::" + "a" * 2000 + "b")


def test_a_boundary_allows_nothing_and_takes_away() -> None:
    within = Policies([document(allow("s3:*"))], boundary=[document(allow("s3:Get*"))])
    assert within.allow(Right("s3:GetObject", "arn:aws:s3:::b/k"))
    assert not within.allow(Right("s3:PutObject", "arn:aws:s3:::b/k"))
    assert not Policies([], boundary=[document(allow("*"))]).allow(Right("s3:GetObject", "arn:aws:s3:::b/k"))


def test_a_geographic_profile_is_used_through_itself_alone() -> None:
    both = document(
        allow("bedrock:InvokeModel", PROFILE),
        allow("bedrock:InvokeModel", MODEL, Condition={"StringEquals": dict(THROUGH)}),
    )
    rights = [Right("bedrock:InvokeModel", PROFILE), Right("bedrock:InvokeModel", MODEL, THROUGH)]
    assert Policies([both]).first_missing(rights) is None
    assert Policies([both]).first_missing([Right("bedrock:InvokeModel", MODEL)]) is not None
    other = Right("bedrock:InvokeModel", MODEL.replace("us-east-1", "us-east-2"), THROUGH)
    assert Policies([both]).first_missing([*rights, other]) == other


@pytest.mark.parametrize(
    "wrong",
    [
        "{",
        "[]",
        {"Version": "2012-10-17"},
        document({"Effect": "Maybe", "Action": "*", "Resource": "*"}),
        document({"Effect": "Allow", "Action": "*"}),
        document({"Effect": "Allow", "Action": "*", "NotAction": "s3:*", "Resource": "*"}),
        document({**allow("*"), "Principal": "*"}),
        document(allow("*", Condition={"DateOfTheMoon": {"k": "v"}})),
        document(allow("*", Condition={"ForSome:StringEquals": {"k": "v"}})),
        document("all"),
        document({**allow("*"), "Action": 1}),
        document({**allow("*"), "Resource": [None]}),
        {"Version": "2012-10-17", "Statement": 7},
        {**document(allow("*")), "Version": "2020-01-01"},
        "[" * 100_000,
    ],
)
def test_what_is_no_policy_is_told(wrong) -> None:
    with pytest.raises(ConfigurationError):
        Policies([wrong])


def test_documents_may_be_json_and_have_one_statement() -> None:
    assert Policies([json.dumps({"Statement": allow("s3:*")})]).allow(Right("s3:GetObject", "arn:aws:s3:::b/k"))


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_pattern_without_wildcards_means_itself(pattern, text) -> None:
    if not set(pattern) & set("*?$"):
        name = ((f"arn:aws:x:::{pattern}", False),)
        assert matches_resource(name, f"arn:aws:x:::{pattern}")
        assert matches_resource(name, f"arn:aws:x:::{text}") is (pattern == text)


@given(st.text("ab*?:", max_size=8), st.text("ab:*", max_size=8))
def test_wildcards_are_those_of_a_regular_expression(pattern, text) -> None:
    wanted = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    assert matches_text(((pattern, False),), text) is bool(re.fullmatch(wanted, text))
    assert matches_text(((pattern, True),), text) is (pattern == text)
