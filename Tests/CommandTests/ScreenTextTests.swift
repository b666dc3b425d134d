import Testing

@testable import tspeft

/// Text on a terminal.
@Suite struct ScreenTextTests {
    @Test(arguments: [
        ("abc", 3), ("", 0), ("日本", 4), ("e\u{301}", 1), ("é", 1), ("\u{1F409}", 2), ("\u{1F468}\u{200D}\u{1F469}", 2),
        ("ｆｕｌｌ", 8), ("한글", 4), ("\u{200B}a", 1), ("a\u{1B}b", 2), ("❤\u{FE0F}", 2), ("—…", 2), ("µ²", 2),
    ])
    func widthIsThatOfTerminals(text: String, width: Int) {
        #expect(ScreenText.width(text) == width, "\(text)")
    }

    @Test func whatDoesNotFitIsLeftOutAtAWordsEnd() {
        #expect(ScreenText.fitted("step 123/4567  loss 0.5", columns: 30) == "step 123/4567  loss 0.5")
        #expect(ScreenText.fitted("step 123/4567  loss 0.5", columns: 22) == "step 123/4567  loss")
        #expect(ScreenText.fitted("step 123/4567  loss 0.5", columns: 12) == "step")
        #expect(ScreenText.fitted("step 123/4567", columns: 3) == "")
        #expect(ScreenText.fitted("日本 語", columns: 5) == "日本")
    }

    @Test func sentencesArePartedAtWords() {
        let text =
            "the loss rises: try a learning rate of 1e-4 in place of 3e-2, see /a/very/long/path/that/stays/whole"
        for columns in [10, 20, 40, 80] {
            let lines = ScreenText.wrapped(text, columns: columns)
            #expect(lines.joined(separator: " ").replacing("   ", with: " ") == text)
            for line in lines where ScreenText.width(line) > columns {
                #expect(!line.drop { $0 == " " }.contains(" "), "\(line)")
            }
            #expect(lines.dropFirst().allSatisfy { $0.hasPrefix("  ") })
        }
        #expect(ScreenText.wrapped(text, columns: 200) == [text])
    }

    @Test func lineOfProgressKeepsWhatMattersAndWholeNumbers() {
        let fields: [ProgressLine.Field] = [
            .init("step 1234/32000", short: "1234/32000"), .init("left 10 h 59 min", short: "left 10h59m"),
            .init("loss 0.1234"), .init("skipped 45.6 %"), .init("12345 tokens/s", short: "12345 tok/s"),
        ]
        let line = ProgressLine(fields, extras: [.init("epoch 1.25"), .init("lr 1.00e-04")])
        #expect(line.text(columns: 39) == "1234/32000  left 10h59m  loss 0.1234")
        #expect(
            line.text(columns: 79) == "step 1234/32000  left 10 h 59 min  loss 0.1234  skipped 45.6 %  12345 tokens/s")
        #expect(
            line.text(columns: 119)
                == "step 1234/32000  left 10 h 59 min  loss 0.1234  skipped 45.6 %  12345 tokens/s  epoch 1.25  lr 1.00e-04"
        )
        #expect(line.text(columns: 12) == "1234/32000")
        #expect(line.text(columns: 5) == "")
        for columns in 0...130 { #expect(ScreenText.width(line.text(columns: columns)) <= columns) }
    }

    @Test func timesLeftAreShort() {
        for (seconds, text) in [
            (0.2, "0s"), (59.4, "59s"), (125, "2m05s"), (3_720, "1h02m"), (90_000, "1d01h"), (.nan, "-"),
        ] {
            #expect(shortDurationText(seconds) == text)
        }
    }
}
