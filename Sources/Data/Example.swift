/// What is expected of a whole sequence.
package enum SequenceLabel: Sendable, Equatable {
    /// A class, by its place among the classes.
    case index(Int32)
    /// A number.
    case value(Float)
}

/// One sequence to train on or to measure loss over.
package struct Example: Sendable, Equatable {
    /// The token ids.
    package let tokens: [Int32]
    /// For each token whether it is to be predicted from those before it; false for the first.
    package let scored: [Bool]
    /// Each token's type, which tells the two texts of a pair apart; nil where all are of type 0.
    package let types: [Int32]?
    /// What is expected of the sequence as a whole; nil for one that is scored by its tokens, or not at all.
    package let label: SequenceLabel?
    /// The pictures whose tokens the sequence has, in their order.
    package var images: [ExampleImage] = []

    /// A sequence; the first token counts as not scored, because nothing stands before it.
    ///
    /// - Precondition: as many flags as tokens.
    package init(tokens: [Int32], scored: [Bool]) {
        precondition(tokens.count == scored.count, "a flag for each token")
        self.tokens = tokens
        self.scored = scored.isEmpty ? [] : [false] + scored.dropFirst()
        types = nil
        label = nil
    }

    /// A sequence with what is expected of it as a whole, nil where that is not known; no token is scored.
    ///
    /// - Precondition: as many types as tokens, where there are types.
    package init(tokens: [Int32], types: [Int32]? = nil, label: SequenceLabel?) {
        precondition(types.map { $0.count == tokens.count } ?? true, "a type for each token")
        self.tokens = tokens
        scored = [Bool](repeating: false, count: tokens.count)
        self.types = types
        self.label = label
    }

    /// How many tokens are scored; 1 for a sequence that is scored as a whole.
    package var scoredCount: Int { label == nil ? scored.reduce(into: 0) { $0 += $1 ? 1 : 0 } : 1 }
}

/// A question with its possible answers, to be chosen among by likelihood or looked for in generated text.
package struct ChoiceItem: Sendable, Equatable {
    /// The tokens before the answer, at least one.
    package let prompt: [Int32]
    /// For each possible answer the tokens that follow the prompt: the record's whole completion with the answer
    /// replaced by this one, and the end token where completions have one.
    package let choices: [[Int32]]
    /// The possible answers as the record writes them.
    package let names: [String]
    /// The index of the right answer in `choices` and `names`.
    package let correct: Int
    /// The line on which the record starts, from 1.
    package let line: Int
    /// The pictures whose tokens the prompt has, in their order.
    package var images: [ExampleImage] = []

    /// A question; see the properties.
    ///
    /// - Precondition: a prompt, as many names as choices, and `correct` is the index of one.
    package init(prompt: [Int32], choices: [[Int32]], names: [String], correct: Int, line: Int) {
        precondition(!prompt.isEmpty && choices.count == names.count && choices.indices.contains(correct))
        self.prompt = prompt
        self.choices = choices
        self.names = names
        self.correct = correct
        self.line = line
    }

    /// Whether `example` is the prompt with the right choice behind it and just that choice scored, so that minus the
    /// choice's log-likelihood is the example's loss. It is not where a prompt is scored too, an earlier turn is, or
    /// the item had to be truncated more for a longer choice.
    package func isAnswered(by example: Example) -> Bool {
        let answer = choices[correct]
        return example.tokens.count == prompt.count + answer.count && example.scoredCount == answer.count
            && example.scored.suffix(answer.count).allSatisfy { $0 } && example.tokens.starts(with: prompt)
            && example.tokens.suffix(answer.count).elementsEqual(answer)
    }
}
