/// One sequence to train on or to measure loss over.
package struct Example: Sendable, Equatable {
    /// The token ids.
    package let tokens: [Int32]
    /// For each token whether it is to be predicted from those before it; false for the first.
    package let scored: [Bool]

    /// A sequence; the first token counts as not scored, because nothing stands before it.
    ///
    /// - Precondition: as many flags as tokens.
    package init(tokens: [Int32], scored: [Bool]) {
        precondition(tokens.count == scored.count, "a flag for each token")
        self.tokens = tokens
        self.scored = scored.isEmpty ? [] : [false] + scored.dropFirst()
    }

    /// How many tokens are scored.
    package var scoredCount: Int { scored.reduce(into: 0) { $0 += $1 ? 1 : 0 } }
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
