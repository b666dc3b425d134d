import CheckpointIO
import Data
import TSPEFT

/// Which of several texts this is.
struct AnswerPlace {
    /// From 1.
    let number: Int
    let count: Int
    let prompt: PromptFile.Prompt

    /// What stands before the text where there are several.
    var heading: String {
        let id = prompt.id.map { ", " + ($0.stringValue ?? $0.text()) } ?? ""
        return (number > 1 ? "\n" : "") + "==> \(number) of \(count)\(id) <=="
    }
}

extension GenerateReport {
    /// The report as JSON, with the generated text.
    func json(_ text: String, _ place: AnswerPlace) -> JSONValue {
        var object: JSONObject = ["number": .integer(place.number)]
        if let id = place.prompt.id { object["id"] = id }
        object["prompt"] = .string(place.prompt.text)
        object["text"] = .string(text)
        object["tokens"] = .array(tokens.map { .integer(Int($0)) })
        object["prompt_tokens"] = .integer(promptTokens)
        object["generated_tokens"] = .integer(tokens.count)
        object["end"] = .string(end.rawValue)
        object["seconds"] = .real(seconds)
        return .object(object)
    }

    /// What several texts, or one, took.
    static func summary(_ reports: [GenerateReport]) -> String {
        let (prompt, count) = reports.reduce((0, 0)) { ($0.0 + $1.promptTokens, $0.1 + $1.tokens.count) }
        let seconds = reports.reduce(0) { $0 + $1.seconds }
        let which = reports.count > 1 ? "\(reports.count) prompts, " : ""
        let end = reports.count == 1 ? "; ended by \(reports[0].end.rawValue)" : ""
        return "\(which)\(grouped(prompt)) + \(grouped(count)) tokens in \(durationText(seconds)), "
            + "\(fixed(Double(count) / max(seconds, 1e-9), 1)) generated tokens/s\(end)"
    }
}
