import Evaluation
import Foundation
import TestSupport
import Testing
import Tokenization

@testable import TSPEFT

/// A conversation with the tiny model that has a chat template.
@Suite(.serialized) struct ChatSessionTests {
    private func request(_ change: (inout GenerateRequest) -> Void = { _ in }) -> GenerateRequest {
        var request = GenerateRequest(basePath: fixture("tiny-qwen2"), prompt: "")
        request.isChat = true
        request.limit = 12
        request.temperature = 0
        request.compute = ComputeOptions(precision: .f32, threadCount: 1)
        change(&request)
        return request
    }

    private func said(_ session: ChatSession, _ message: String) throws -> (text: String, report: GenerateReport) {
        var text = ""
        let report = try session.answer(message) { piece in
            text += piece
            return true
        }
        return (text, report)
    }

    @Test func firstAnswerIsThatOfAChatPrompt() throws {
        let (text, report) = try said(ChatSession(try TextGenerator(request())), "What do bees make?")
        var alone = ""
        let expected = try generateText(request { $0.prompt = "What do bees make?" }) { piece in
            alone += piece
            return true
        }
        #expect(text == alone && !text.isEmpty)
        #expect(report.tokens == expected.tokens && report.promptTokens == expected.promptTokens)
    }

    @Test(arguments: [nil, "Say little."]) func laterTurnsKnowTheEarlierOnesAndComputeOnlyWhatIsNew(
        system: String?
    ) throws {
        let session = ChatSession(try TextGenerator(request { $0.system = system }))
        var reports: [GenerateReport] = []
        for message in ["What do bees make?", "And where?", "Thanks"] {
            reports.append(try said(session, message).report)
        }
        #expect(session.count == 6)
        #expect(reports[0].result.reusedTokens == 0)
        for (earlier, later) in zip(reports, reports.dropFirst()) {
            #expect(later.promptTokens > earlier.promptTokens + earlier.tokens.count)
            // What was generated may be cut into other tokens when it is read as text; the prompt is not, but for its end.
            #expect(later.result.reusedTokens >= earlier.promptTokens - 1)
        }
        // The same conversation, from nothing: without keys and values kept.
        let fresh = ChatSession(try TextGenerator(request { $0.system = system }))
        for (message, report) in zip(["What do bees make?", "And where?", "Thanks"], reports) {
            #expect(try said(fresh, message).report.tokens == report.tokens)
        }
        session.clear()
        #expect(session.count == 0)
        let again = try said(session, "What do bees make?").report
        #expect(again.tokens == reports[0].tokens && again.result.reusedTokens == 0)
    }

    @Test func keptKeysAndValuesChangeNoToken() throws {
        let generator = try TextGenerator(request())
        let session = ChatSession(generator)
        var found: [[Int32]] = []
        for message in ["What do bees make?", "And where?"] { found.append(try said(session, message).report.tokens) }
        let other = try TextGenerator(request())
        let first = try said(ChatSession(other), "What do bees make?").text
        other.forget()
        let all = [
            ChatMessage(role: "user", content: "What do bees make?"), ChatMessage(role: "assistant", content: first),
            ChatMessage(role: "user", content: "And where?"),
        ]
        #expect(try other.answer(try other.tokens(of: all)) { _ in true }.tokens == found[1])
    }

    @Test func stoppedAnswerIsRememberedAsFarAsItCame() throws {
        let session = ChatSession(try TextGenerator(request()))
        var asked = 0
        let report = try session.answer(
            "What do bees make?",
            shouldStop: {
                asked += 1
                return asked > 4
            }, receive: { _ in true })
        #expect(report.end == .stopped && report.tokens.count == 4)
        #expect(session.count == 2)
        #expect(try said(session, "And where?").report.result.reusedTokens > 0)
    }

    @Test func conversationThatIsTooLongIsRefusedAndLeftAsItWas() throws {
        let session = ChatSession(try TextGenerator(request()))
        _ = try said(session, "What do bees make?")
        let error = #expect(throws: WorkflowError.self) {
            try said(session, String(repeating: "bees make honey ", count: 900))
        }
        guard case .conversationTooLong(let tokens, 1024) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(tokens > 1024 && session.count == 2)
        #expect(error?.exitStatus == .badData)
        #expect(try !said(session, "And where?").text.isEmpty)
    }

    @Test func modelWithoutATemplateIsRefusedAtOnce() throws {
        #expect(throws: WorkflowError.self) {
            try TextGenerator(request { $0.basePath = TinyTraining.base })
        }
    }

    @Test func gatedAdapterAnswersToo() throws {
        try withTemporaryFolder { folder in
            var injection = InjectRequest(basePath: fixture("tiny-qwen2"), outputPath: folder + "/adapter")
            injection.options["rank"] = .integer(2)
            _ = try injectAdapter(injection)
            let session = ChatSession(try TextGenerator(request { $0.adapterPath = folder + "/adapter" }))
            let bare = ChatSession(try TextGenerator(request()))
            // A new adapter changes nothing.
            for message in ["What do bees make?", "And where?"] {
                #expect(try said(session, message).report.tokens == said(bare, message).report.tokens)
            }
        }
    }
}

/// Several prompts, stop strings and beams.
@Suite(.serialized) struct GenerateTextsTests {
    private func request(_ change: (inout GenerateRequest) -> Void = { _ in }) -> GenerateRequest {
        var request = GenerateRequest(basePath: TinyTraining.base, prompt: "Review: a quiet film")
        request.limit = 12
        request.compute = ComputeOptions(precision: .f32, threadCount: 1)
        change(&request)
        return request
    }

    private func text(_ request: GenerateRequest) throws -> (text: String, report: GenerateReport) {
        var text = ""
        let report = try generateText(request) { piece in
            text += piece
            return true
        }
        return (text, report)
    }

    @Test func eachPromptGivesWhatItGivesAlone() throws {
        let prompts = ["Review: a quiet film", "The movie", "Review: a quiet mess"]
        for temperature in [0, 1.5] {
            var texts = ["", "", ""]
            let reports = try generateTexts(
                request {
                    $0.prompts = prompts
                    $0.temperature = temperature
                }
            ) { number, piece in
                texts[number] += piece
                return true
            }
            for (number, prompt) in prompts.enumerated() {
                let alone = try text(
                    request {
                        $0.prompt = prompt
                        $0.temperature = temperature
                    })
                #expect(alone.text == texts[number] && alone.report.tokens == reports[number].tokens)
            }
        }
        #expect(throws: WorkflowError.self) { try generateText(request { $0.prompts = prompts }) { _ in true } }
    }

    @Test func allPromptsAreLookedAtBeforeTheFirstIsContinued() throws {
        var pieces = 0
        let error = #expect(throws: WorkflowError.self) {
            try generateTexts(
                request { $0.prompts = ["The film", String(repeating: "a very long film ", count: 400)] }
            ) { _, _ in
                pieces += 1
                return true
            }
        }
        #expect(pieces == 0)
        #expect(error?.description.hasPrefix("prompt 2: the prompt has ") == true)
    }

    @Test func textEndsBeforeAStopString() throws {
        let whole = try text(request { $0.limit = 24 })
        let stop = String(whole.text.dropFirst(whole.text.count / 2).prefix(5))
        let place = try #require(whole.text.range(of: stop))
        for beams in [nil, 1] {
            let cut = try text(
                request {
                    $0.limit = 24
                    $0.stopStrings = ["qzq", stop]
                    $0.beams = beams
                })
            #expect(cut.text == whole.text[..<place.lowerBound] && cut.report.end == .stopString)
            #expect(cut.report.tokens.count < whole.report.tokens.count)
        }
    }

    @Test func beamsEndAtAStopStringToo() throws {
        let whole = try text(request { $0.beams = 3 }).text
        let stop = String(whole.dropFirst(whole.count / 2).prefix(4))
        let cut = try text(
            request {
                $0.beams = 3
                $0.stopStrings = [stop]
            })
        #expect(!cut.text.contains(stop))
        // Another beam may have ended by itself.
        #expect([.stopString, .tokenLimit, .endToken].contains(cut.report.end))
    }

    @Test func optionsThatCannotBeAreRefusedBeforeAnythingIsRead() throws {
        for change: (inout GenerateRequest) -> Void in [
            { $0.minP = 2 }, { $0.repetitionPenalty = 0 }, { $0.beams = 0 }, { $0.beams = 5000 },
            { ($0.beams, $0.temperature) = (4, 0.5) }, { $0.system = "Be kind." },
        ] {
            let error = #expect(throws: (any Error).self) {
                try generateText(
                    request {
                        $0.basePath = "/none"
                        change(&$0)
                    }
                ) { _ in true }
            }
            #expect(error.map { TSPEFTError($0).kind } == .usage, "\(String(describing: error))")
        }
    }
}
