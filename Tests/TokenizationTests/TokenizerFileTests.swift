import CheckpointIO
import Foundation
import TestSupport
import Testing
import Tokenization

/// A tokenizer of a few letters; each field's JSON text may be replaced.
private func tokenizerText(_ changes: [String: String] = [:]) -> String {
    var fields = [
        "added_tokens": "[]", "normalizer": "null", "pre_tokenizer": "null", "post_processor": "null",
        "decoder": "null",
        "model": #"{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}"#,
    ]
    fields.merge(changes) { $1 }
    return "{" + fields.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ") + "}"
}

/// The tokenizer in a folder of these files.
private func load(_ files: [String: String]) throws -> Tokenizer {
    try withTemporaryFolder { folder in
        for (name, text) in files { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name)")) }
        return try Tokenizer.load(modelPath: folder)
    }
}

/// A tokenizer file with one field changed.
struct Change: Sendable, CustomTestStringConvertible {
    let field: String
    let value: String
    /// What the error says.
    let problem: String
    var testDescription: String { "\(field): \(value)" }
}

@Suite struct TokenizerFileTests {
    private static func model(_ fields: String) -> String {
        #"{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [], \#(fields)}"#
    }

    @Test(arguments: [
        Change(field: "surprise", value: "1", problem: "the field 'surprise'"),
        Change(field: "normalizer", value: #"{"type": "NFX"}"#, problem: "the normalizer 'NFX' ('normalizer.type')"),
        Change(
            field: "normalizer", value: #"{"type": "Sequence", "normalizers": [{"type": "Uppercase"}]}"#,
            problem: "the normalizer 'Uppercase' ('normalizer.normalizers[0].type')"),
        Change(
            field: "normalizer", value: #"{"type": "Lowercase", "language": "tr"}"#,
            problem: "the field 'normalizer.language'"),
        Change(
            field: "normalizer", value: #"{"type": "Replace", "pattern": {"Regex": " *"}, "content": " "}"#,
            problem: "the expression ' *' ('normalizer.pattern.Regex')"),
        Change(
            field: "pre_tokenizer", value: #"{"type": "UnicodeScripts"}"#,
            problem: "the pre-tokenizer 'UnicodeScripts' ('pre_tokenizer.type')"),
        Change(
            field: "pre_tokenizer",
            value: #"{"type": "Split", "pattern": {"Regex": "(?<=a)b"}, "behavior": "Isolated", "invert": false}"#,
            problem: #"the expression '(?<=a)b' ('pre_tokenizer.pattern.Regex')"#),
        Change(
            field: "pre_tokenizer",
            value: #"{"type": "Split", "pattern": {"String": "a"}, "behavior": "Doubled", "invert": false}"#,
            problem: "the split behavior 'Doubled' ('pre_tokenizer.behavior')"),
        Change(
            field: "pre_tokenizer",
            value:
                #"{"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false}, {"type": "Digits"}]}"#,
            problem: "a pre-tokenizer after ByteLevel"),
        Change(
            field: "pre_tokenizer", value: #"{"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}"#,
            problem: "the prepend scheme 'last' ('pre_tokenizer.prepend_scheme')"),
        Change(
            field: "pre_tokenizer", value: #"{"type": "Digits", "individual_digits": true, "hexadecimal": true}"#,
            problem: "the field 'pre_tokenizer.hexadecimal'"),
        Change(
            field: "post_processor", value: #"{"type": "T5Processing", "sep": ["a", 0]}"#,
            problem: "the post-processor 'T5Processing' ('post_processor.type')"),
        Change(
            field: "post_processor",
            value:
                #"{"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["a", 0], "cls": ["b", 1]}, {"type": "BertProcessing", "sep": ["a", 0], "cls": ["b", 1]}]}"#,
            problem: "a second post-processor that adds tokens"),
        Change(field: "decoder", value: #"{"type": "CTC"}"#, problem: "the decoder 'CTC' ('decoder.type')"),
        Change(
            field: "model", value: #"{"type": "WordLevel", "vocab": {}}"#, problem: "the tokenizer model 'WordLevel'"),
        Change(field: "model", value: model(#""dropout": 0.1"#), problem: "dropout of merges ('model.dropout')"),
        Change(
            field: "model", value: model(#""end_of_word_suffix": "</w>""#),
            problem: "'model.end_of_word_suffix' of '</w>'"),
        Change(field: "model", value: model(#""novelty": true"#), problem: "the field 'model.novelty'"),
    ])
    func whatIsNotUnderstoodIsUnsupportedByName(change: Change) throws {
        let error = try #require(throws: TokenizationError.self) {
            try load(["tokenizer.json": tokenizerText([change.field: change.value])])
        }
        #expect(error.description.hasSuffix("/tokenizer.json: \(change.problem) is not supported"), "\(error)")
        #expect(error.exitStatus == .unsupported)
    }

    @Test(arguments: [
        Change(field: "model", value: "[]", problem: "'model' is not a JSON object"),
        Change(field: "model", value: "null", problem: "'model' is missing (an object)"),
        Change(field: "model", value: #"{"merges": []}"#, problem: "'model.vocab' is missing (an object)"),
        Change(
            field: "model", value: #"{"vocab": {"a": -1}, "merges": []}"#,
            problem: "the id of token 'a' is not a whole number from 0 below 393216"),
        Change(
            field: "model", value: #"{"vocab": {"a": 99999999999}, "merges": []}"#,
            problem: "the id of token 'a' is not a whole number from 0 below 393216"),
        Change(
            field: "model", value: #"{"vocab": {"a": 0, "b": 0}, "merges": []}"#,
            problem: "id 0 stands for two tokens, one of them 'b'"),
        Change(
            field: "model", value: #"{"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}"#,
            problem: #"merge 1, "a b", does not join two tokens into a third"#),
        Change(
            field: "model", value: #"{"vocab": {"a": 0, "aa": 1}, "merges": [["a", "a"], ["a"]]}"#,
            problem: #"merge 2, ["a"], does not join two tokens into a third"#),
        Change(
            field: "model", value: #"{"vocab": {"a": 0}, "merges": ["a"]}"#,
            problem: #"merge 1, "a", does not join two tokens into a third"#),
        Change(field: "model", value: #"{"vocab": {}, "merges": 3}"#, problem: "'model.merges' is not a list"),
        Change(
            field: "model", value: model(#""unk_token": "?""#),
            problem: "the unknown token '?' is not in the vocabulary"),
        Change(
            field: "model", value: model(#""byte_fallback": 1"#),
            problem: "'model.byte_fallback' is not true or false"),
        Change(
            field: "added_tokens", value: #"[{"id": 1, "content": "a"}]"#,
            problem: "added token 'a' has id 1, but the vocabulary gives it 0"),
        Change(
            field: "added_tokens", value: #"[{"id": 1, "content": "<s>"}]"#,
            problem: "added token '<s>' has id 1, but that id is another token's"),
        Change(
            field: "added_tokens", value: #"[{"id": 3, "content": ""}]"#,
            problem: "'added_tokens[0].content' is not a string with at least one character"),
        Change(
            field: "added_tokens", value: #"[{"content": "<s>"}]"#,
            problem: "'added_tokens[0].id' is missing (a whole number from 0 to 2147483647)"),
        Change(
            field: "pre_tokenizer", value: #"{"type": "ByteLevel"}"#,
            problem: "'pre_tokenizer.add_prefix_space' is missing (true or false)"),
        Change(
            field: "post_processor",
            value: #"{"type": "TemplateProcessing", "single": [], "special_tokens": {}}"#,
            problem: "'post_processor.single' is not a template with the text in it once"),
        Change(
            field: "post_processor",
            value:
                #"{"type": "TemplateProcessing", "special_tokens": {"z": {"ids": [9]}}, "single": [{"SpecialToken": {"id": "z"}}, {"Sequence": {"id": "A"}}]}"#,
            problem: "'post_processor' adds token 9, which does not exist"),
        Change(
            field: "model", value: #"{"type": "WordPiece", "unk_token": "?", "vocab": {"a": 0}}"#,
            problem: "the unknown token '?' is not in the vocabulary"),
        Change(
            field: "model", value: #"{"type": "WordPiece", "vocab": {"a": 0}}"#,
            problem: "'model.unk_token' is missing (a string)"),
        Change(
            field: "model", value: #"{"type": "Unigram", "vocab": [["a", -1]]}"#,
            problem: "'model.unk_id' is missing (the id of the unknown token)"),
        Change(
            field: "model", value: #"{"type": "Unigram", "unk_id": 1, "vocab": [["a", -1]]}"#,
            problem: "the unknown token is 1, but there are 1 tokens"),
        Change(
            field: "model", value: #"{"type": "Unigram", "unk_id": 0, "vocab": [["a", -1], ["a", -2]]}"#,
            problem: "the vocabulary has the token 'a' twice"),
        Change(
            field: "model", value: #"{"type": "Unigram", "unk_id": 0, "vocab": [["a", 1e999]]}"#,
            problem: "the score of token 'a' is inf"),
        Change(
            field: "model", value: #"{"type": "Unigram", "unk_id": 0, "vocab": [["a"]]}"#,
            problem: "'model.vocab[0]' is no token with its score"),
        Change(
            field: "normalizer", value: #"{"type": "Precompiled", "precompiled_charsmap": "AAAA"}"#,
            problem: "'normalizer.precompiled_charsmap' is not a table of characters in Base64"),
        Change(
            field: "normalizer", value: #"{"type": "Precompiled", "precompiled_charsmap": "?"}"#,
            problem: "'normalizer.precompiled_charsmap' is not a table of characters in Base64"),
        Change(
            field: "normalizer", value: #"{"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}"#,
            problem: "'normalizer.precompiled_charsmap' is not a table of characters in Base64"),
        Change(
            field: "post_processor", value: #"{"type": "BertProcessing", "sep": ["a", 0], "cls": ["b"]}"#,
            problem: "'post_processor.cls' is not a token and its id"),
    ])
    func whatContradictsItselfIsRefused(change: Change) throws {
        let error = try #require(throws: TokenizationError.self) {
            try load(["tokenizer.json": tokenizerText([change.field: change.value])])
        }
        #expect(error.description.hasSuffix("/tokenizer.json: \(change.problem)"), "\(error)")
        #expect(error.exitStatus == .badData)
    }

    @Test func textThatIsNoJSONIsRefusedWithItsPlace() throws {
        let error = try #require(throws: TokenizationError.self) { try load(["tokenizer.json": "{\n\"a\" 1}"]) }
        #expect(
            error.description.hasSuffix("not valid JSON at line 2 (byte 6): ':' is missing after a key"), "\(error)")
    }

    @Test func aFolderWithoutTokenizerSaysWhatIsNeeded() throws {
        let nothing = try #require(throws: TokenizationError.self) { try load([:]) }
        #expect(nothing.description.hasSuffix("no tokenizer is there; a tokenizer.json is needed beside the model"))
        #expect(nothing.exitStatus == .missingInput)
        let older = try #require(throws: TokenizationError.self) { try load(["tokenizer.model": "x"]) }
        #expect(older.description.hasSuffix("its tokenizer.model must be converted to a tokenizer.json first"))
        #expect(throws: CheckpointError.missing(path: "/nowhere/at/all")) {
            try Tokenizer.load(modelPath: "/nowhere/at/all")
        }
    }

    @Test func aBrokenSentencePieceModelIsRefused() throws {
        let path = fixture("tokenization/subwords/t5/spiece.model")
        let whole = try readSmallFile(path, limit: 1 << 20)
        for bytes in [[], [0x0A], Array(whole.dropLast(whole.count / 2)), Array("x".utf8), Array(whole.reversed())] {
            let error = try #require(throws: TokenizationError.self) {
                try withTemporaryFolder { folder in
                    try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/spm.model"))
                    return try Tokenizer.load(modelPath: folder)
                }
            }
            #expect(error.description.contains("/spm.model: "), "\(error)")
            #expect(error.exitStatus == .badData, "\(error)")
        }
    }

    @Test func bothFormsOfMergesAreOne() throws {
        let pairs = #"{"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}"#
        let first = try load(["tokenizer.json": tokenizerText()])
        let second = try load(["tokenizer.json": tokenizerText(["model": pairs])])
        #expect(first.encode("abba") == [2, 1, 0])
        #expect(second.encode("abba") == [2, 1, 0])
    }

    @Test func tokensThatOnlyLookAlikeAreTwoTokens() throws {
        // A composed and a decomposed "é", which Swift's strings take for equal.
        let model = #"{"vocab": {"\u00e9": 0, "e": 1, "\u0301": 2, "e\u0301": 3}, "merges": ["e \u0301"]}"#
        let tokenizer = try load(["tokenizer.json": tokenizerText(["model": model])])
        #expect(tokenizer.encode("\u{E9}e\u{301}") == [0, 3])
        #expect(tokenizer.tokenID("\u{E9}") == 0)
        #expect(tokenizer.tokenID("e\u{301}") == 3)
    }

    @Test func charactersOutsideTheVocabularyAreDroppedWithoutUnknownToken() throws {
        #expect(try load(["tokenizer.json": tokenizerText()]).encode("axb") == [2])
    }

    @Test func tokenNamesComeFromTheConfigurationsInTheirOrder() throws {
        let text = tokenizerText(["added_tokens": #"[{"id": 5, "content": "<s>", "special": true}]"#])
        let older = try load([
            "tokenizer.json": text, "special_tokens_map.json": #"{"bos_token": "<s>", "eos_token": {"content": "ab"}}"#,
        ])
        #expect(older.bosTokenID == 5)
        #expect(older.eosTokenID == 2)
        #expect(older.vocabularySize == 6)
        #expect(older.isSpecial(5) && !older.isSpecial(2))
        let newer = try load([
            "tokenizer.json": text, "tokenizer_config.json": #"{"bos_token": "a", "eos_token": null}"#,
            "special_tokens_map.json": #"{"bos_token": "<s>"}"#,
        ])
        #expect(newer.bosTokenID == 0)
        #expect(newer.eosTokenID == nil)
        let error = try #require(throws: TokenizationError.self) {
            try load(["tokenizer.json": text, "tokenizer_config.json": #"{"eos_token": "<gone>"}"#])
        }
        #expect(error.description.contains("the eos_token '<gone>'"))
    }

    @Test func aTemplateFileComesBeforeTheConfigurationsTemplate() throws {
        let plain = "{% for m in messages %}{{ m.content }}{% endfor %}"
        func rendered(_ files: [String: String]) throws -> String? {
            let tokenizer = try load(["tokenizer.json": tokenizerText()].merging(files) { $1 })
            let messages = [ChatMessage(role: "assistant", content: "x")]
            return try tokenizer.chatTemplate?.render(messages).map(\.text).joined()
        }
        #expect(try rendered([:]) == nil)
        #expect(try rendered(["tokenizer_config.json": #"{"chat_template": "1\#(plain)"}"#]) == "1x")
        let named = #"[{"name": "tool_use", "template": "2"}, {"name": "default", "template": "3\#(plain)"}]"#
        #expect(try rendered(["tokenizer_config.json": #"{"chat_template": \#(named)}"#]) == "3x")
        let both = ["tokenizer_config.json": #"{"chat_template": "1\#(plain)"}"#, "chat_template.jinja": "4\(plain)\n"]
        #expect(try rendered(both) == "4x")
        let unusable = try load([
            "tokenizer.json": tokenizerText(), "tokenizer_config.json": #"{"chat_template": "{% include 'x' %}"}"#,
        ])
        #expect(unusable.chatTemplate == nil)
        #expect(
            unusable.chatTemplateProblem
                == "the model's chat template cannot be used: it has the statement 'include'")
    }
}
