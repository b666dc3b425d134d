import Tokenization

/// Makes examples and choice items from records: templates, tokens, masks, truncation, checks.
struct ExampleBuilder {
    /// What one record gave.
    struct Result {
        let example: Example
        let choiceItem: ChoiceItem?
        /// Whether the example or the choice item was truncated.
        let isTruncated: Bool
    }

    /// A record as tokens, whole and before masking.
    private struct Draft {
        var tokens: [Int32] = []
        /// Which tokens the model is to say.
        var isSaid: [Bool] = []
        /// Where the last thing that the model is to say begins; nil where there is none.
        var answerStart: Int?
        /// The text that begins there.
        var answer = ""

        mutating func append(_ ids: [Int32], isSaid said: Bool) {
            tokens += ids
            isSaid += repeatElement(said, count: ids.count)
        }
    }

    private let encoder: SequenceEncoder
    private let options: LoadingOptions
    /// What follows a completion: the end-of-text token, or nothing.
    private let ending: [Int32]

    /// A builder of examples from the records of `file`.
    ///
    /// - Throws: `noEndToken`, where completions should end with a token that the tokenizer lacks.
    init(encoder: SequenceEncoder, options: LoadingOptions, file: String) throws(DataError) {
        self.encoder = encoder
        self.options = options
        if options.endOfText {
            guard let end = encoder.tokenizer.eosTokenID else { throw .noEndToken(file: file) }
            ending = [end]
        } else {
            ending = []
        }
    }

    /// The example of one record, and its choice item where it has an answer and choice items are collected.
    func build(_ record: TrainingRecord) throws(DataError) -> Result {
        let draft = try draft(of: record)
        let isText = if case .text = record.content { true } else { false }
        let (example, isCut) = try isText ? cutText(draft, record.place) : cutPrompt(draft, record.place)
        if let limit = options.limit, example.tokens.count > limit {
            throw .sequenceTooLong(record.place, length: example.tokens.count, limit: limit)
        }
        guard example.scored.contains(true) else { throw .nothingToScore(record.place) }
        guard options.collectsChoices, let task = record.task else {
            return Result(example: example, choiceItem: nil, isTruncated: isCut)
        }
        let (item, isItemCut) = try choiceItem(of: draft, task, record)
        return Result(example: example, choiceItem: item, isTruncated: isCut || isItemCut)
    }
}

// MARK: - Records as tokens

extension ExampleBuilder {
    private func draft(of record: TrainingRecord) throws(DataError) -> Draft {
        switch record.content {
        case .text(let text):
            var draft = Draft()
            draft.append(encoder.encodeStart(text), isSaid: true)
            draft.append(ending, isSaid: true)
            return draft
        case .completion(let prompt, let completion):
            return draft(turns: [(prompt, completion)])
        case .instruction(let record):
            return draft(turns: turns(of: record))
        case .chat(let messages, let field):
            return try draft(of: messages, field: field, at: record.place)
        }
    }

    /// Prompts and completions in turn, each completion with the end token behind it.
    private func draft(turns: [(prompt: String, completion: String)]) -> Draft {
        var draft = Draft()
        for turn in turns {
            let isFirst = draft.tokens.isEmpty
            draft.append(
                isFirst ? encoder.encodeStart(turn.prompt) : encoder.encode(turn.prompt, after: draft.tokens),
                isSaid: false)
            draft.answerStart = draft.tokens.count
            draft.answer = turn.completion
            draft.append(encoder.encode(turn.completion, after: draft.tokens), isSaid: true)
            draft.append(ending, isSaid: true)
        }
        return draft
    }

    private func turns(of record: InstructionRecord) -> [(prompt: String, completion: String)] {
        guard let first = record.history.first else {
            let prompt = AlpacaTemplate.prompt(
                instruction: record.instruction, input: record.input, system: record.system)
            return [(prompt, record.output)]
        }
        let opening = AlpacaTemplate.prompt(instruction: first.instruction, system: record.system)
        var turns = [(prompt: opening, completion: first.output)]
        for turn in record.history.dropFirst() {
            turns.append(("\n\n" + AlpacaTemplate.turn(instruction: turn.instruction, input: ""), turn.output))
        }
        turns.append(
            ("\n\n" + AlpacaTemplate.turn(instruction: record.instruction, input: record.input), record.output))
        return turns
    }

    private func draft(
        of messages: [ChatMessage], field: String, at place: RecordPlace
    ) throws(DataError) -> Draft {
        let segments = try render(messages, field: field, at: place)
        let (tokens, isSaid) = encoder.encode(segments)
        let answerEnd = isSaid.lastIndex(of: true)
        return Draft(
            tokens: tokens, isSaid: isSaid,
            answerStart: answerEnd.map { (isSaid[..<$0].lastIndex(of: false) ?? -1) + 1 },
            answer: messages.last { $0.role == "assistant" }?.content ?? "")
    }

    /// What the template makes of the last answer of a conversation, its end token too, if `text` stood there.
    private func lastAnswer(
        _ text: String, in messages: [ChatMessage], field: String, at place: RecordPlace
    ) throws(DataError) -> String {
        guard let index = messages.lastIndex(where: { $0.role == "assistant" }) else { return text }
        var messages = messages
        messages[index] = ChatMessage(role: "assistant", content: text)
        return try render(messages, field: field, at: place).last { $0.isScored }?.text ?? text
    }

    private func render(
        _ messages: [ChatMessage], field: String, at place: RecordPlace
    ) throws(DataError) -> [ChatSegment] {
        guard let template = encoder.tokenizer.chatTemplate else {
            throw .noChatTemplate(place, field: field, problem: encoder.tokenizer.chatTemplateProblem)
        }
        do throws(TokenizationError) {
            return try template.render(messages, addingGenerationPrompt: false)
        } catch {
            throw .chat(place, field: field, error)
        }
    }
}

// MARK: - Truncation

extension ExampleBuilder {
    /// A text keeps its beginning.
    private func cutText(_ draft: Draft, _ place: RecordPlace) throws(DataError) -> (Example, Bool) {
        let count = min(draft.tokens.count, options.maxLength ?? .max)
        let tokens = Array(draft.tokens.prefix(count))
        let example = Example(tokens: tokens, scored: Array(repeating: true, count: count))
        return (example, count < draft.tokens.count)
    }

    /// What has a prompt or is a conversation loses its left, but for a beginning-of-text token; the last thing that
    /// the model is to say stays whole.
    private func cutPrompt(_ draft: Draft, _ place: RecordPlace) throws(DataError) -> (Example, Bool) {
        let scored = options.promptMasking ? draft.isSaid : Array(repeating: true, count: draft.isSaid.count)
        let answerStart = draft.answerStart ?? draft.tokens.count
        let kept = startCount(of: draft)
        let cut = try cutLength(
            promptCount: answerStart, answerCount: draft.tokens.count - answerStart, startCount: kept, place)
        if cut == 0 { return (Example(tokens: draft.tokens, scored: scored), false) }
        return (
            Example(
                tokens: Array(draft.tokens[..<kept] + draft.tokens[(kept + cut)...]),
                scored: Array(scored[..<kept] + scored[(kept + cut)...])), true
        )
    }

    /// How many tokens at the start of a sequence survive truncation: its beginning-of-text token, where it has one.
    private func startCount(of draft: Draft) -> Int {
        guard let first = draft.tokens.first, draft.answerStart != 0 else { return 0 }
        return first == encoder.leadingTokens.first || first == encoder.tokenizer.bosTokenID ? 1 : 0
    }

    /// How many tokens must go so that the rest fits into `maxLength`.
    private func cutLength(
        promptCount: Int, answerCount: Int, startCount: Int, _ place: RecordPlace
    ) throws(DataError) -> Int {
        let cut = max(0, promptCount + answerCount - (options.maxLength ?? .max))
        if let maxLength = options.maxLength, cut > promptCount - startCount {
            throw .answerTooLong(place, length: startCount + answerCount, maxLength: maxLength)
        }
        return cut
    }
}

// MARK: - Choices

extension ExampleBuilder {
    private func choiceItem(
        of draft: Draft, _ task: TrainingRecord.Task, _ record: TrainingRecord
    ) throws(DataError) -> (ChoiceItem, Bool) {
        guard let names = task.choices else { throw .noChoices(record.place) }
        guard let answerStart = draft.answerStart, answerStart > 0, let correct = names.firstIndex(of: task.answer)
        else { throw .nothingToScore(record.place) }
        var prompt = Array(draft.tokens[..<answerStart])
        var choices: [[Int32]] = []
        for name in names {
            let text = TaskChoices.completion(draft.answer, replacing: task.answer, by: name)
            if case .chat(let messages, let field) = record.content {
                let said = try lastAnswer(text, in: messages, field: field, at: record.place)
                choices.append(encoder.encode(said, after: prompt))
            } else {
                choices.append(encoder.encode(text, after: prompt) + ending)
            }
        }
        guard choices.allSatisfy({ !$0.isEmpty }) else { throw .nothingToScore(record.place) }
        let longest = choices.reduce(0) { max($0, $1.count) }
        let kept = startCount(of: draft)
        let cut = try cutLength(promptCount: answerStart, answerCount: longest, startCount: kept, record.place)
        // The first token of a choice has to be predicted from something.
        if cut == answerStart { throw .nothingToScore(record.place) }
        if cut > 0 { prompt.removeSubrange(kept..<kept + cut) }
        if let limit = options.limit, prompt.count + longest > limit {
            throw .sequenceTooLong(record.place, length: prompt.count + longest, limit: limit)
        }
        let item = ChoiceItem(
            prompt: prompt, choices: choices, names: names, correct: correct, line: record.place.line)
        return (item, cut > 0)
    }
}
