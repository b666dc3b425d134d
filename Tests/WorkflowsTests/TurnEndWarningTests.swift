import Foundation
import TestSupport
import Testing

@testable import TSPEFT

/// What `train` says at its start of conversations after which the model will not stop.
@Suite(.serialized) struct TurnEndWarningTests {
    /// The warnings before the first step of a run over one conversation in the given template.
    private func warnings(_ template: String, generation: String? = nil) throws -> [String] {
        try withTemporaryFolder { folder in
            let base = folder + "/base"
            try FileManager.default.createDirectory(atPath: base, withIntermediateDirectories: false)
            for name in try FileManager.default.contentsOfDirectory(atPath: TinyTraining.base)
            where !["generation_config.json", "chat_template.jinja"].contains(name) {
                try link(base + "/" + name, to: TinyTraining.base + "/" + name)
            }
            try writeFile(base + "/chat_template.jinja", template)
            if let generation { try writeFile(base + "/generation_config.json", generation) }
            let tiny = try TinyTraining(folder)
            try writeFile(
                folder + "/chat.json",
                #"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello you"}]}"#)
            let request = tiny.request("run") {
                $0.basePath = base
                $0.dataPath = folder + "/chat.json"
                $0.training.length = .steps(1)
            }
            var warnings: [String] = []
            var hasBegun = false
            _ = try trainAdapter(
                request,
                progress: { event in
                    switch event {
                    case .warning(let warning): if !hasBegun { warnings.append(warning.text) }
                    case .step: hasBegun = true
                    default: break
                    }
                })
            return warnings
        }
    }

    @Test func templateThatTeachesNoEndIsTold() throws {
        #expect(
            try warnings("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}") == [
                "the model's chat template teaches no end: it writes none behind the last answer of all 1 conversations, "
                    + "so there the model does not learn to stop"
            ])
        for space in ["", "\n", " \n "] {
            #expect(
                try warnings(
                    "{% for m in messages %}{{ m.role }}: {{ m.content }}\(space)<|endoftext|>{% endfor %}"
                ).isEmpty)
        }
    }

    @Test func endThatTheModelDoesNotNameIsTold() throws {
        let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|pad|>{% endfor %}"
        #expect(try warnings(template).map { $0.hasPrefix("answers end with '<|pad|>', which is none of") } == [true])
        #expect(try warnings(template, generation: #"{"eos_token_id": [0, 1]}"#).isEmpty)
    }
}
