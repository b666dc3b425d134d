import Images
import TensorCore
import Tokenization

/// What ends the last of the assistant's turns that is scored.
enum TurnEnd: Sendable, Equatable {
    /// One of the model's end tokens.
    case modelsOwn
    /// A mark that is none of these.
    case other(String)
    /// Nothing.
    case none
}

/// Makes examples and choice items from records: templates, tokens, masks, truncation, checks.
struct ExampleBuilder {
    /// What one record gave.
    struct Result {
        /// One example; of a text that is longer than `maxLength`, its parts in order.
        let examples: [Example]
        let choiceItem: ChoiceItem?
        /// Whether the example or the choice item was truncated.
        let isTruncated: Bool
        /// What ends the last thing that the model is to say; nil for what is no conversation.
        let turnEnd: TurnEnd?
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
        /// The last segment that the model is to say, of a conversation.
        var lastSaid: String?

        mutating func append(_ ids: [Int32], isSaid said: Bool) {
            tokens += ids
            isSaid += repeatElement(said, count: ids.count)
        }
    }

    private let encoder: SequenceEncoder
    private let options: LoadingOptions
    private let writer: ConversationWriter?
    /// Tokens behind which no end of text is needed.
    private let ends: Set<Int32>
    /// What follows a completion: the end-of-text token, or nothing.
    private let ending: [Int32]

    /// A builder of examples from the records of `file`.
    ///
    /// - Throws: `noEndToken`, where completions should end with a token that the tokenizer lacks.
    init(encoder: SequenceEncoder, options: LoadingOptions, file: String) throws(DataError) {
        self.encoder = encoder
        self.options = options
        writer = encoder.tokenizer.chatTemplate.map(ConversationWriter.init)
        ends = options.endTokens.union([encoder.tokenizer.eosTokenID].compactMap { $0 })
        if options.endOfText {
            guard let end = encoder.tokenizer.eosTokenID else { throw .noEndToken(file: file) }
            ending = [end]
        } else {
            ending = []
        }
    }

    /// The examples of one record, and its choice item where it has an answer and choice items are collected.
    func build(_ record: TrainingRecord) throws(DataError) -> Result {
        let images = try images(of: record)
        let draft = try draft(of: record)
        try checkMarks(of: draft, record)
        if case .text = record.content, images.isEmpty { return try buildText(draft, record.place) }
        let (cut, isCut) = try cutPrompt(draft, record.place)
        var example = cut
        example.images = images
        try check(example, record.place)
        guard options.collectsChoices, let task = record.task else {
            return Result(examples: [example], choiceItem: nil, isTruncated: isCut, turnEnd: turnEnd(draft))
        }
        let (made, isItemCut) = try choiceItem(of: draft, task, record)
        var item = made
        item.images = images
        for choice in item.choices { try checkVocabulary(choice, record.place) }
        try checkVocabulary(item.prompt, record.place)
        return Result(
            examples: [example], choiceItem: item, isTruncated: isCut || isItemCut, turnEnd: turnEnd(draft))
    }

    /// A text, in parts where it is longer than an example may be.
    private func buildText(_ draft: Draft, _ place: RecordPlace) throws(DataError) -> Result {
        let examples = parts(of: draft.tokens)
        for example in examples { try check(example, place) }
        return Result(examples: examples, choiceItem: nil, isTruncated: false, turnEnd: nil)
    }

    private func turnEnd(_ draft: Draft) -> TurnEnd? {
        guard let said = draft.lastSaid, let last = draft.isSaid.lastIndex(of: true) else { return nil }
        let token = draft.tokens[last]
        if ends.contains(token) { return .modelsOwn }
        if encoder.tokenizer.isSpecial(token) {
            return .other(encoder.tokenizer.decode([token], skippingSpecialTokens: false))
        }
        let end = encoder.tokenizer.chatTemplate?.endOfTurn
        return end.map { said.hasSuffix($0) } ?? false ? end.map { .other($0) } : TurnEnd.none
    }
}

// MARK: - Checks

extension ExampleBuilder {
    /// Throws for an example that the model cannot take or learn from.
    private func check(_ example: Example, _ place: RecordPlace) throws(DataError) {
        if let limit = options.limit, example.tokens.count > limit {
            throw .sequenceTooLong(place, length: example.tokens.count, limit: limit)
        }
        guard example.scored.contains(true) else { throw .nothingToScore(place) }
        try checkVocabulary(example.tokens, place)
    }

    /// Throws `tokenBeyondVocabulary` for the first token that the model's embedding has no row for.
    private func checkVocabulary(_ tokens: [Int32], _ place: RecordPlace) throws(DataError) {
        guard let rows = options.vocabularySize,
            let problem = encoder.tokenizer.strangeToken(in: tokens, rows: rows)
        else { return }
        throw .tokenBeyondVocabulary(place, problem: problem)
    }
}

// MARK: - Pictures

extension ExampleBuilder {
    /// The record's pictures, each looked at by its header.
    private func images(of record: TrainingRecord) throws(DataError) -> [ExampleImage] {
        guard let options = options.images else { return [] }
        var images: [ExampleImage] = []
        for path in record.images {
            do throws(ImageError) {
                images.append(try options.image(path, recordFile: record.place.file))
            } catch {
                throw .image(record.place, error)
            }
        }
        return images
    }

    /// Throws where the text has other than one place for each of the record's pictures.
    private func checkMarks(of draft: Draft, _ record: TrainingRecord) throws(DataError) {
        guard let options = options.images else { return }
        let count = draft.tokens.count { $0 == options.token }
        guard count != record.images.count * options.tokenCount else { return }
        throw .otherImageCount(record.place, images: record.images.count, marks: count / options.tokenCount)
    }

    /// The draft with each picture's place as wide as its tokens.
    private func widened(_ draft: Draft) -> Draft {
        guard let options = options.images, draft.tokens.contains(options.token) else { return draft }
        var wide = draft
        (wide.tokens, wide.isSaid) = options.expanded(draft.tokens, draft.isSaid)
        wide.answerStart = draft.answerStart.map { start in
            start + (options.tokenCount - 1) * draft.tokens[..<start].count { $0 == options.token }
        }
        return wide
    }

    /// Throws where a picture's tokens are among those that truncation removes.
    private func checkCut(_ removed: ArraySlice<Int32>, length: Int, _ place: RecordPlace) throws(DataError) {
        guard let options = options.images, removed.contains(options.token) else { return }
        throw .imagesTooLong(place, length: length, maxLength: self.options.maxLength ?? length)
    }
}

// MARK: - Records as tokens

extension ExampleBuilder {
    private func draft(of record: TrainingRecord) throws(DataError) -> Draft { widened(try plainDraft(of: record)) }

    private func plainDraft(of record: TrainingRecord) throws(DataError) -> Draft {
        switch record.content {
        case .text(let text):
            var draft = Draft()
            draft.append(ended(encoder.encodeStart(text)), isSaid: true)
            return draft
        case .completion(let prompt, let completion):
            return draft(turns: [(prompt, completion)])
        case .instruction(let record):
            return draft(turns: turns(of: record))
        case .chat(let conversation):
            return try draft(of: conversation, at: record.place)
        }
    }

    /// Tokens with the end of the text behind them, unless they have one themselves, perhaps before white space.
    private func ended(_ tokens: [Int32]) -> [Int32] {
        let last = tokens.last { !encoder.tokenizer.bytes(ofToken: $0).allSatisfy(isWhiteSpace) }
        return last.map(ends.contains) ?? false ? tokens : tokens + ending
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
            draft.append(ended(encoder.encode(turn.completion, after: draft.tokens)), isSaid: true)
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

    private func draft(of record: ChatRecord, at place: RecordPlace) throws(DataError) -> Draft {
        let segments = try segments(of: record, at: place)
        let (tokens, isSaid) = encoder.encode(segments)
        let answerEnd = isSaid.lastIndex(of: true)
        return Draft(
            tokens: tokens, isSaid: isSaid,
            answerStart: answerEnd.map { (isSaid[..<$0].lastIndex(of: false) ?? -1) + 1 },
            answer: record.lastAnswer.map { record.conversation.messages[$0].content } ?? "",
            lastSaid: segments.last { $0.isScored }?.text ?? "")
    }

    private func segments(of record: ChatRecord, at place: RecordPlace) throws(DataError) -> [ChatSegment] {
        guard let writer else {
            throw .noChatTemplate(place, field: record.field, problem: encoder.tokenizer.chatTemplateProblem)
        }
        guard options.images != nil else { return try writer.segments(of: record, at: place) }
        var record = record
        for index in record.conversation.messages.indices {
            record.conversation.messages[index] = writer.placingImages(record.conversation.messages[index])
        }
        return try writer.segments(of: record, at: place)
    }
}

extension ChatRecord {
    /// The last turn of the assistant that is scored; nil without one.
    fileprivate var lastAnswer: Int? {
        conversation.messages.indices.last {
            conversation.messages[$0].role == "assistant" && !conversation.unscored.contains($0)
        }
    }

    /// The record with `text` in place of its last answer.
    fileprivate func answering(_ text: String) -> ChatRecord {
        guard let index = lastAnswer else { return self }
        var record = self
        record.conversation.messages[index].content = text
        record.conversation.messages[index].members["content"] = nil
        return record
    }
}

// MARK: - Truncation

extension ExampleBuilder {
    /// A text in parts of at most `maxLength` tokens. Each begins with the last token of the one before, so that every
    /// token but the first is predicted once from something before it; none is left out.
    private func parts(of tokens: [Int32]) -> [Example] {
        let length = max(2, options.maxLength ?? .max)
        var examples: [Example] = []
        var start = 0
        repeat {
            let end = start + min(length, tokens.count - start)
            examples.append(
                Example(tokens: Array(tokens[start..<end]), scored: Array(repeating: true, count: end - start)))
            start = end - 1
        } while start + 1 < tokens.count
        return examples
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
        try checkCut(draft.tokens[kept..<kept + cut], length: draft.tokens.count, place)
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
        guard let answerStart = draft.answerStart, answerStart > 0,
            let correct = names.firstIndex(where: task.answer.hasSameBytes(as:))
        else { throw .nothingToScore(record.place) }
        let texts = names.map { TaskChoices.completion(draft.answer, replacing: task.answer, by: $0) }
        var (prompt, choices) = (Array(draft.tokens[..<answerStart]), [[Int32]]())
        if case .chat(let conversation) = record.content {
            (prompt, choices) = try Self.parted(
                texts.map { text throws(DataError) in
                    widened(try self.draft(of: conversation.answering(text), at: record.place))
                })
        } else {
            choices = texts.map { ended(encoder.encode($0, after: prompt)) }
        }
        guard !prompt.isEmpty, choices.allSatisfy({ !$0.isEmpty }) else { throw .nothingToScore(record.place) }
        let longest = choices.reduce(0) { max($0, $1.count) }
        let kept = min(startCount(of: draft), prompt.count)
        let cut = try cutLength(promptCount: prompt.count, answerCount: longest, startCount: kept, record.place)
        // The first token of a choice has to be predicted from something.
        if cut == prompt.count { throw .nothingToScore(record.place) }
        if cut > 0 {
            try checkCut(prompt[kept..<kept + cut], length: prompt.count + longest, record.place)
            prompt.removeSubrange(kept..<kept + cut)
        }
        if let limit = options.limit, prompt.count + longest > limit {
            throw .sequenceTooLong(record.place, length: prompt.count + longest, limit: limit)
        }
        let item = ChoiceItem(
            prompt: prompt, choices: choices, names: names, correct: correct, line: record.place.line)
        return (item, cut > 0)
    }
    /// Conversations that differ in their last answer, parted where the first of their answers begins: each is written
    /// and tokenized whole, so that its answer has the tokens which training sees.
    private static func parted(_ drafts: [Draft]) -> (prompt: [Int32], choices: [[Int32]]) {
        let wholes = drafts.map { draft in
            draft.tokens.prefix((draft.isSaid.lastIndex(of: true) ?? -1) + 1)
        }
        var count = drafts.reduce(Int.max) { min($0, $1.answerStart ?? 0) }
        for whole in wholes { count = zip(whole.prefix(count), wholes[0]).prefix { $0 == $1 }.count }
        return (Array(wholes[0].prefix(count)), wholes.map { Array($0.dropFirst(count)) })
    }
}
