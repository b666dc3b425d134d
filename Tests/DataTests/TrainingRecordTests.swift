import Testing

@testable import CheckpointIO
@testable import Data
@testable import Tokenization

struct TrainingRecordTests {
    private let place = RecordPlace(file: "data/train.json", line: 7)

    private func record(_ json: String) throws -> TrainingRecord {
        try TrainingRecord(JSONValue.parse(json), at: place)
    }

    /// Expects `json` to be refused with exactly this sentence.
    private func expectRefusal(
        _ json: String, _ sentence: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let value = try JSONValue.parse(json)
        let error = #expect(throws: DataError.self, sourceLocation: sourceLocation) {
            try TrainingRecord(value, at: place)
        }
        #expect(error?.description == "data/train.json, line 7: " + sentence, sourceLocation: sourceLocation)
        #expect(error?.exitStatus.rawValue == 65, sourceLocation: sourceLocation)
    }

    @Test func textRecordIsRead() throws {
        #expect(try record(#"{"text": "Hello", "id": 3}"#).content == .text("Hello"))
    }

    @Test func promptAndCompletionAreReadAsTheyAre() throws {
        #expect(
            try record(#"{"prompt": "Q: 1+1\n", "completion": " 2"}"#).content
                == .completion(prompt: "Q: 1+1\n", completion: " 2"))
    }

    @Test func alpacaRecordIsReadWithAndWithoutItsOptionalFields() throws {
        let short = try record(#"{"instruction": "Add", "output": "3"}"#)
        #expect(
            short.content
                == .instruction(
                    InstructionRecord(instruction: "Add", input: "", output: "3", system: "", history: [])))
        let nulls = try record(
            #"{"instruction": "Add", "input": null, "output": "3", "system": null, "history": null, "answer": null}"#)
        #expect(nulls.content == short.content)
        #expect(nulls.task == nil)
        let long = try record(
            #"""
            {"instruction": "Add", "input": "1 2", "output": "3", "system": "You add.",
             "history": [["Say hi", "hi"], ["Again", "hi again"]]}
            """#)
        #expect(
            long.content
                == .instruction(
                    InstructionRecord(
                        instruction: "Add", input: "1 2", output: "3", system: "You add.",
                        history: [("Say hi", "hi"), ("Again", "hi again")])))
    }

    @Test func chatRecordsOfBothKindsGiveTheSameMessages() throws {
        let messages = try record(
            #"""
            {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
                          {"role": "assistant", "content": "A"}]}
            """#)
        let conversations = try record(
            #"""
            {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "U"},
                               {"from": "gpt", "value": "A"}], "images": []}
            """#)
        guard case .chat(let first) = messages.content, case .chat(let second) = conversations.content else {
            Issue.record("both are chat records")
            return
        }
        #expect(first.field == "messages" && second.field == "conversations")
        #expect(first.conversation.messages.map(\.role) == ["system", "user", "assistant"])
        #expect(first.conversation.messages.map(\.content) == ["S", "U", "A"])
        #expect(first.conversation == second.conversation)
    }

    @Test func recordWithFieldsOfSeveralFormsTakesTheFirstThatIsWhole() throws {
        let alpaca = try record(#"{"instruction": "I", "output": "O", "text": "I O", "prompt": "P"}"#)
        guard case .instruction = alpaca.content else {
            Issue.record("instruction and output come before text")
            return
        }
        #expect(try record(#"{"prompt": "P", "text": "whole"}"#).content == .text("whole"))
    }

    @Test func missingFieldIsNamed() throws {
        try expectRefusal(
            #"{"prompt": "a"}"#, "the field 'completion' is missing; a record with 'prompt' needs it")
        try expectRefusal(
            #"{"completion": "a"}"#, "the field 'prompt' is missing; a record with 'completion' needs it")
        try expectRefusal(
            #"{"instruction": "a", "answer": "b"}"#,
            "the field 'output' is missing; a record with 'instruction' needs it")
        try expectRefusal(
            #"{"output": "a"}"#, "the field 'instruction' is missing; a record with 'output' needs it")
        try expectRefusal(
            #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}"#,
            "the field 'messages[1].content' is missing; a record with 'messages[1]' needs it")
        try expectRefusal(
            #"{"conversations": [{"value": "a"}]}"#,
            "the field 'conversations[0].from' is missing; a record with 'conversations[0]' needs it")
    }

    @Test func recordOfNoFormIsRefusedWithTheFieldsItHas() throws {
        let needed =
            "needed are 'text', or 'prompt' and 'completion', or 'instruction' and 'output', or 'messages', or "
            + "'conversations'"
        try expectRefusal(#"{"question": "a", "label": 1}"#, "the record has the fields 'question', 'label'; " + needed)
        try expectRefusal("{}", "the record has no field; " + needed)
    }

    @Test func recordThatIsNoObjectIsRefused() throws {
        try expectRefusal("[1, 2]", "the record is a list; a JSON object is needed")
        try expectRefusal("\"text\"", "the record is a string; a JSON object is needed")
    }

    @Test func fieldOfTheWrongKindIsNamed() throws {
        try expectRefusal(#"{"text": 5}"#, "the field 'text' is a number; a string is needed")
        try expectRefusal(#"{"text": null}"#, "the field 'text' is null; a string is needed")
        try expectRefusal(
            #"{"prompt": "a", "completion": ["b"]}"#, "the field 'completion' is a list; a string is needed")
        try expectRefusal(
            #"{"instruction": "a", "input": false, "output": "b"}"#,
            "the field 'input' is true or false; a string is needed")
        try expectRefusal(#"{"messages": "hi"}"#, "the field 'messages' is a string; a list of messages is needed")
        try expectRefusal(#"{"messages": []}"#, "the field 'messages' is an empty list; at least one message is needed")
        try expectRefusal(#"{"messages": ["hi"]}"#, "the field 'messages[0]' is a string; an object is needed")
        try expectRefusal(
            #"{"messages": [{"role": "user", "content": ["hi"]}]}"#,
            "the field 'messages[0].content[0]' is a string; an object with 'type' and 'text' is needed")
        try expectRefusal(
            #"{"messages": [{"role": "user", "content": 5}]}"#,
            "the field 'messages[0].content' is a number; a string is needed")
        try expectRefusal(
            #"{"instruction": "a", "output": "b", "history": [["c"]]}"#,
            "the field 'history[0]' is a list of 1; a pair [instruction, output] of strings is needed")
        try expectRefusal(
            #"{"instruction": "a", "output": "b", "history": "c"}"#,
            "the field 'history' is a string; a list of pairs [instruction, output] of strings is needed")
    }

    @Test func unknownSpeakerIsNamed() throws {
        try expectRefusal(
            #"{"conversations": [{"from": "human", "value": "a"}, {"from": "bot", "value": "b"}]}"#,
            "the field 'conversations[1].from' is 'bot'; system, user, assistant and tool (human, gpt and observation) "
                + "are known")
    }

    @Test func namesOfShareGPTsSpeakersAreNoneOfOpenAIs() throws {
        for role in ["human", "gpt", "function", ""] {
            try expectRefusal(
                #"{"messages": [{"role": "\#(role)", "content": "a"}]}"#,
                "the field 'messages[0].role' is '\(role)'; system, developer, user, assistant and tool are known")
        }
    }

    @Test func imagesAreRefusedAsUnsupported() throws {
        let json = #"{"conversations": [{"from": "human", "value": "<image>"}], "images": ["a.jpg"]}"#
        let value = try JSONValue.parse(json)
        let error = #expect(throws: DataError.self) { try TrainingRecord(value, at: place) }
        #expect(error == .images(place, field: "images"))
        #expect(error?.exitStatus.rawValue == 69)
    }

    @Test func choicesAreTheFieldOrElseTheListOfTheAnswerFormat() throws {
        let listed = try record(
            #"{"instruction": "Which?\n\nAnswer format: answer1/answer2/answer3", "output": "x", "answer": "answer2"}"#)
        #expect(listed.task == .init(answer: "answer2", choices: ["answer1", "answer2", "answer3"]))
        let field = try record(
            #"{"instruction": "Answer format: a/b", "output": "x", "answer": "d", "choices": ["c", "d"]}"#)
        #expect(field.task == .init(answer: "d", choices: ["c", "d"]))
        let prompt = try record(
            #"{"prompt": "Is it? Answer format: true/false\n", "completion": "true", "answer": true}"#)
        #expect(prompt.task == .init(answer: "true", choices: ["true", "false"]))
        let chat = try record(
            #"""
            {"messages": [{"role": "user", "content": "Answer format: yes / no"},
                          {"role": "assistant", "content": "no"}], "answer": "no"}
            """#)
        #expect(chat.task == .init(answer: "no", choices: ["yes", "no"]))
        let none = try record(#"{"instruction": "1+1", "output": "2", "answer": 2}"#)
        #expect(none.task == .init(answer: "2", choices: nil))
        let numbers = try record(#"{"prompt": "1+1=", "completion": "2", "answer": 2, "choices": [1, 2]}"#)
        #expect(numbers.task == .init(answer: "2", choices: ["1", "2"]))
    }

    @Test func choicesThatCannotBeRightAreRefused() throws {
        func json(_ choices: String) -> String {
            #"{"prompt": "p", "completion": "a", "answer": "a", "choices": \#(choices)}"#
        }
        try expectRefusal(
            json(#"["b", "c"]"#), "the field 'answer' is 'a', which is none of the choices 'b', 'c'")
        try expectRefusal(
            json(#"["a"]"#), "the field 'choices' has one entry; two or more different answers are needed")
        try expectRefusal(json("[]"), "the field 'choices' is empty; two or more different answers are needed")
        try expectRefusal(
            json(#"["a", "b", "a"]"#),
            "the field 'choices' has 'a' twice; two or more different answers are needed")
        try expectRefusal(
            json("\"a\""), "the field 'choices' is a string; a list of the possible answers is needed")
        try expectRefusal(
            json(#"["a", {}]"#),
            "the field 'choices[1]' is an object; a string, a number or true or false is needed")
        try expectRefusal(
            #"{"prompt": "p", "completion": "a", "answer": ["a"]}"#,
            "the field 'answer' is a list; a string, a number or true or false is needed")
        try expectRefusal(
            #"{"instruction": "Answer format: true/false", "output": "a", "answer": "maybe"}"#,
            "the field 'answer' is 'maybe', which is none of the choices 'true', 'false'")
    }
}
