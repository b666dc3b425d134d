import Images
import TestSupport
import Testing

@testable import CheckpointIO
@testable import Data
@testable import Tokenization

/// llava-hf's template: pictures first, then texts.
private let llavaTemplate =
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    + "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    + "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    + "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"

/// The token of pictures in `imageTokenizer`.
private let imageToken: Int32 = 2048

/// The tiny tokenizer with a chat template and `<image>` as a token.
private func imageTokenizer(template: String) throws -> Tokenizer {
    try tinyTokenizer(
        changing: { object in
            var added = object["added_tokens"]?.arrayValue ?? []
            added.append(
                .object([
                    "id": .integer(Int(imageToken)), "content": .string("<image>"), "single_word": .bool(false),
                    "lstrip": .bool(false), "rstrip": .bool(false), "normalized": .bool(false),
                    "special": .bool(true),
                ]))
            object["added_tokens"] = .array(added)
        }, configuration: { $0["chat_template"] = .string(template) })
}

/// Options of a model whose pictures have three tokens, with the fixtures' pictures.
private func options(_ change: (inout LoadingOptions) -> Void = { _ in }) throws -> LoadingOptions {
    var options = LoadingOptions()
    let settings = try JSONValue.parse(#"{"size": 28, "crop_size": 28}"#)
    options.images = ImageOptions(
        token: imageToken, tokenCount: 3, preprocessor: .success(try ImagePreprocessor(settings, file: "settings")),
        folder: fixture("images"))
    change(&options)
    return options
}

private let record =
    #"{"id": "1", "image": "colour.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, "#
    + #"{"from": "gpt", "value": "A bee."}, {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]}"#

/// What loading one record throws, in words.
private func problem(_ record: String, _ options: LoadingOptions, template: String = llavaTemplate) throws -> String {
    let tokenizer = try imageTokenizer(template: template)
    do {
        _ = try loadLines([record], tokenizer, options)
        return "nothing"
    } catch {
        return "\(error)"
    }
}

struct ImageRecordTests {
    @Test func aPicturesPlaceIsAsWideAsItsTokens() throws {
        let tokenizer = try imageTokenizer(template: llavaTemplate)
        let example = try loadLines([record], tokenizer, options()).examples[0]
        let text = tokenizer.decode(example.tokens, skippingSpecialTokens: false)
        #expect(
            text == "USER: <image><image><image>\nWhat is it? ASSISTANT: A bee. USER: Sure? ASSISTANT: Yes. ")
        #expect(example.images.map(\.path) == [fixture("images/colour.jpg")])
        #expect(try example.images.values()[0].count == 3 * 28 * 28)
        #expect(!zip(example.tokens, example.scored).contains { $0 == imageToken && $1 })
        #expect(scoredText(example, tokenizer).contains("A bee."))
    }

    @Test func aMarkBehindTheTextGoesWhereTheTemplatePutsPictures() throws {
        let tokenizer = try imageTokenizer(template: llavaTemplate)
        let moved = record.replacing("<image>\\nWhat is it?", with: "What is it?\\n<image>")
        let data = try loadLines([record, moved], tokenizer, options())
        #expect(data.examples[0] == data.examples[1])
    }

    @Test func aTemplateOfPlainTextsKeepsTheMarkWhereItStands() throws {
        let tokenizer = try imageTokenizer(template: chatML)
        let example = try loadLines([record], tokenizer, options()).examples[0]
        let text = tokenizer.decode(example.tokens, skippingSpecialTokens: false)
        #expect(text.contains("user\n<image><image><image>\nWhat is it?"))
    }

    @Test func severalPicturesAndOtherFormsAreRead() throws {
        let tokenizer = try imageTokenizer(template: llavaTemplate)
        let data = try loadLines(
            [
                #"{"images": ["colour.jpg", "grey.png"], "prompt": "<image> or <image>? ", "completion": "b"}"#,
                #"{"image": ["colour.jpg"], "messages": [{"role": "user", "content": [{"type": "image"}, "#
                    + #"{"type": "text", "text": "What?"}]}, {"role": "assistant", "content": "#
                    + #"[{"type": "text", "text": "A bee."}]}]}"#,
                #"{"prompt": "none ", "completion": "b"}"#,
            ], tokenizer, options())
        #expect(data.examples.map(\.images.count) == [2, 1, 0])
        #expect(data.examples.map { $0.tokens.count { $0 == imageToken } } == [6, 3, 0])
        let batch = Batch.packing(data.examples)
        #expect(batch.images == data.examples.flatMap(\.images))
    }

    @Test func choicesKnowTheirPictures() throws {
        let tokenizer = try imageTokenizer(template: llavaTemplate)
        let item = try loadLines(
            [
                #"{"image": "colour.jpg", "instruction": "<image> Is it? Answer format: yes/no", "output": "I say no", "#
                    + #""answer": "no"}"#
            ], tokenizer, options { $0.collectsChoices = true }
        ).choiceItems[0]
        #expect(item.images.count == 1 && item.prompt.count { $0 == imageToken } == 3)
        #expect(item.choices.map { tokenizer.decode($0) } == ["I say yes", "I say no"])
    }

    @Test func recordAndFileAreNamedWhereAPictureCannotBeUsed() throws {
        let missing = try problem(record.replacing("colour.jpg", with: "no.jpg"), options())
        #expect(
            missing.hasSuffix("line 1: the picture \(fixture("images/no.jpg")): no such file or directory"),
            "\(missing)")
        let other = try problem(record.replacing("colour.jpg", with: "expected.safetensors"), options())
        #expect(other.contains("begins as no picture does"), "\(other)")
        let two = try problem(record.replacing("What is it?", with: "<image>What?"), options())
        #expect(two.contains("names 1 picture, but its text has 2 '<image>'"), "\(two)")
        let none = try problem(record.replacing(#""image": "colour.jpg", "#, with: ""), options())
        #expect(none.contains("names 0 pictures, but its text has 1 '<image>'"), "\(none)")
        let number = try problem(record.replacing(#""colour.jpg""#, with: "7"), options())
        #expect(number.contains("'image' is a number; a picture's path or a list of them is needed"), "\(number)")
    }

    @Test func picturesAreNeverCut() throws {
        let short = try problem(record, options { $0.maxLength = 20 })
        #expect(short.contains("with its pictures', which are never cut, but maxLength is 20"), "\(short)")
    }

    @Test func aModelOfTextAloneRefusesPictures() throws {
        #expect(try problem(record, LoadingOptions()).contains("has 'image', and this model reads text alone"))
    }

    @Test func settingsThatAreMissingAreSaidWhereThereIsAPicture() throws {
        let bare = try options {
            $0.images = ImageOptions(
                token: imageToken, tokenCount: 3, preprocessor: .failure(.noSettings(directory: "model")))
        }
        #expect(try problem(record, bare).contains("model: has neither processor_config.json"))
        #expect(try problem(#"{"text": "No picture."}"#, bare) == "nothing")
    }
}
