import TestSupport
import Testing

@testable import Data
@testable import Tokenization

/// Possible answers in conversations, written and tokenized as training sees them.
struct ChatChoiceTests {
    /// Templates with white space of their own about an answer.
    static let templates = [
        // A space that joins the answer's first word.
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} <|im_end|>"
            + "{% endif %}{% endfor %}",
        // A line feed that stays by itself.
        "{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content }}\n<|im_end|>\n{% endfor %}"
            + "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}",
        // Spaces that a template puts before the answer and asks for one without.
        "{% for m in messages %}<|im_start|>{{ m.role }}:  {{ m.content }}<|im_end|>{% endfor %}"
            + "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}",
        chatML,
    ]

    @Test(arguments: templates)
    func choicesHaveTheTokensOfTheWholeConversation(template: String) throws {
        let tokenizer = try chatTokenizer(template: template)
        func record(_ answer: String) -> String {
            #"{"messages": [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "\#(answer)"}], "#
                + #""answer": "\#(answer)", "choices": ["yes", "no", " often", "never more"]}"#
        }
        for answer in ["yes", "no", " often", "never more"] {
            let data = try loadLines([record(answer)], tokenizer, LoadingOptions(collectsChoices: true))
            let item = try #require(data.choiceItems.first)
            for (index, name) in item.names.enumerated() {
                let example = try loadLines([record(name)], tokenizer).examples[0]
                let last = try #require(example.scored.lastIndex(of: true))
                #expect(item.prompt + item.choices[index] == Array(example.tokens[...last]))
            }
            #expect(item.names[item.correct] == answer)
            #expect(item.prompt.count <= data.examples[0].scored.firstIndex(of: true)!)
        }
    }

    @Test func lastOfAnAnswersWordsIsTheOneThatChanges() throws {
        let tokenizer = try chatTokenizer()
        let data = try loadLines(
            [
                #"{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "#
                    + #""content": "A good question. The Answer is A"}], "answer": "A", "choices": ["A", "B"]}"#
            ], tokenizer, LoadingOptions(collectsChoices: true))
        let item = try #require(data.choiceItems.first)
        #expect(
            item.choices.map { tokenizer.decode(item.prompt + $0).hasSuffix("A good question. The Answer is A") }
                == [true, false])
        #expect(tokenizer.decode(item.prompt + item.choices[1]).hasSuffix("A good question. The Answer is B"))
    }
}
