import CheckpointIO
import Foundation
import Models
import TestSupport
import Testing
import Tokenization

@testable import Transforms

/// Chat templates with names go where the model goes.
@Suite struct NamedTemplateTests {
    private static let file = "additional_chat_templates/tool_use.jinja"

    /// A copy of a small model with a template of that name.
    private func makeModel(in folder: String) throws -> String {
        let model = folder + "/model"
        try FileManager.default.copyItem(atPath: fixture("tiny-qwen2"), toPath: model)
        mkdir(model + "/additional_chat_templates", 0o777)
        try writeFile(model + "/" + Self.file, "{{ tools }}")
        return model
    }

    @Test func conversionKeepsThem() throws {
        try withTemporaryFolder { folder in
            let model = try makeModel(in: folder)
            let (copy, gguf, back) = (folder + "/copy", folder + "/model.gguf", folder + "/back")
            try CheckpointConversion(try Checkpoint.open(model), to: .huggingFace, at: copy).write(threadCount: 1)
            #expect(try readFile(copy + "/" + Self.file) == Array("{{ tools }}".utf8))
            try CheckpointConversion(try Checkpoint.open(model), to: .gguf, at: gguf).write(threadCount: 1)
            let metadata = try #require(try Checkpoint.open(gguf).metadata)
            #expect(metadata["tokenizer.chat_template.tool_use"]?.stringValue == "{{ tools }}")
            try CheckpointConversion(try Checkpoint.open(gguf), to: .huggingFace, at: back).write(threadCount: 1)
            let settings = try JSONValue.parse(readFile(back + "/tokenizer_config.json"))
            let names = settings["chat_template"]?.arrayValue?.compactMap { $0["name"]?.stringValue }
            #expect(names == ["default", "tool_use"])
        }
    }

    /// Keys of GGUF's metadata are ASCII; names that are not are changed, each into one of its own, and told.
    @Test func nameThatNoKeyCanHaveIsChangedAndTold() throws {
        try withTemporaryFolder { folder in
            let model = try makeModel(in: folder)
            for name in ["\u{E9}", "e\u{301}", "_"] {
                try writeFile(model + "/additional_chat_templates/\(name).jinja", "{{ '\(name)' }}")
            }
            let gguf = folder + "/model.gguf"
            let conversion = try CheckpointConversion(try Checkpoint.open(model), to: .gguf, at: gguf)
            try conversion.write(threadCount: 1)
            #expect(conversion.notes.count { $0.contains("GGUF's keys are ASCII") } == 2, "\(conversion.notes)")
            let metadata = try #require(try Checkpoint.open(gguf).metadata)
            let names = try #require(metadata["tokenizer.chat_templates"]?.stringArray)
            #expect(names.indices.count == 4)
            #expect(metadata["tokenizer.chat_template._"]?.stringValue == "{{ '_' }}")
            #expect(metadata["tokenizer.chat_template.tool_use"]?.stringValue == "{{ tools }}")
        }
    }

    @Test func mergingKeepsThem() throws {
        try withTemporaryFolder { folder in
            let path = try makeBase(in: folder, dtype: .f32)
            mkdir(path + "/additional_chat_templates", 0o777)
            try writeFile(path + "/" + Self.file, "{{ tools }}")
            let base = try ModelCheckpoint.open(path)
            _ = try CheckpointMerge(base: base, adapter: goldenAdapter()).write(to: folder + "/merged")
            #expect(try readFile(folder + "/merged/" + Self.file) == Array("{{ tools }}".utf8))
        }
    }
}
