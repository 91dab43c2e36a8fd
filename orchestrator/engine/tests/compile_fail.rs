//! Programs that must not compile, and what the compiler says to whoever wrote them.

#[test]
fn wrong_workflows_do_not_compile_and_the_message_says_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
