import Testing

@testable import Data

struct AlpacaTemplateTests {
    @Test func promptWithoutInputIsLLMAdaptersText() {
        #expect(
            AlpacaTemplate.prompt(instruction: "Name a colour.")
                == "Below is an instruction that describes a task. Write a response that appropriately completes the "
                + "request.\n\n### Instruction:\nName a colour.\n\n### Response:\n")
    }

    @Test func promptWithInputIsLLMAdaptersText() {
        #expect(
            AlpacaTemplate.prompt(instruction: "Add.", input: "1 2")
                == "Below is an instruction that describes a task, paired with an input that provides further context. "
                + "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n"
                + "### Input:\n1 2\n\n### Response:\n")
    }

    @Test func systemTextStandsInPlaceOfTheFirstParagraph() {
        #expect(
            AlpacaTemplate.prompt(instruction: "Add.", system: "You are terse.")
                == "You are terse.\n\n### Instruction:\nAdd.\n\n### Response:\n")
    }
}
