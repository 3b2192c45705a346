# Completion of `nap` for bash (made by tools/reference.py): source docs/reference/nap.bash
_nap() {
    local here=${COMP_WORDS[COMP_CWORD]} name="${COMP_WORDS[1]}" words=""
    case "$name ${COMP_WORDS[2]}" in "trace "*|"seqdep filter") name="$name ${COMP_WORDS[2]}" ;; esac
    case "$name" in
        "curate") words="--help --task --out --solutions --field --split --data --problems --prompts --samples --temperature --top-p --max-tokens --seed --paths --path-tokens --summary-tokens --tokenizer --select --wrong --max-overlap --diverse --no-diverse --embedder --max-similarity --reasoning --summary --summary-prompt --max-seqdep --scorer --price-prompt --price-completion --license --problems-license --teacher-license --journal --offline --no-offline --backend --workers --json --no-json --teacher --model --key-env --concurrency --per-minute --timeout --retries --together --no-together --ask-refused --no-ask-refused --prompt-field --answer-field --strict --no-strict" ;;
        "decode") words="--help --models --model --prompt --prompts-from --infill --infill-from --gap-tokens --policy --tokens-per-step --steps --cache --reads --workers --backend --live --no-live --out --json --no-json --canvas --paths --path-tokens --summary-tokens --tags --after-end --attention --positions --raw --no-raw --system --prompt-template --examples --shots --examples-as --chat-template-kwargs --temperature --top-p --top-k --guidance --eos --seed --device --dtype --revision --mask-id --shift --block-size --int8 --compile --no-compile --trust-remote-code --no-trust-remote-code" ;;
        "eval") words="--help --model --models --task --policies --tokens-per-step --steps --problems --skip --split --data --infill --gap-tokens --cache --out --baseline --batch-size --workers --backend --traces --probe --json --no-json --markdown --no-markdown --prompt-field --answer-field --strict --no-strict --canvas --paths --path-tokens --summary-tokens --tags --after-end --attention --positions --raw --no-raw --system --prompt-template --examples --shots --examples-as --chat-template-kwargs --temperature --top-p --top-k --guidance --eos --seed --device --dtype --revision --mask-id --shift --block-size --int8 --compile --no-compile --trust-remote-code --no-trust-remote-code" ;;
        "doctor") words="--help --model" ;;
        "leaderboard") words="--help --models --add-models --decoders --add-decoders --problems --validation --out --page --json --no-json" ;;
        "order") words="--help --k --count-padding --no-count-padding --ties-within --model --law --json --no-json --task --policy --tokens-per-step --problems --data --out --device --dtype --revision --mask-id --shift --block-size --int8 --compile --no-compile --trust-remote-code --no-trust-remote-code" ;;
        "report") words="--help --out --explained --figures" ;;
        "score") words="--help --task --by --output-field --answer-field --prompt-field --stop --out --strict --no-strict --json --no-json" ;;
        "serve") words="--help --models --model --host --port --name --key-env --rows --max-tokens --waiting --policy --tokens-per-step --steps --cache --canvas --paths --path-tokens --summary-tokens --tags --after-end --attention --positions --temperature --top-p --top-k --guidance --eos --seed --device --dtype --revision --mask-id --shift --block-size --int8 --compile --no-compile --trust-remote-code --no-trust-remote-code" ;;
        "seqdep") words="--help --limit --json --no-json --scorer --text-field --prompt-field --tokenizer --model --device --dtype --segments --max-tokens" ;;
        "seqdep filter") words="--help --out --max-seqdep --keep --weight --no-weight --scorer --text-field --prompt-field --tokenizer --model --device --dtype --segments --max-tokens" ;;
        "anticipate") words="--help --contexts --samples --distance --by --limit --seed --json --no-json --scorer --text-field --prompt-field --tokenizer --model --device --dtype" ;;
        "problems") words="--help --task --split --limit --data --prompt-field --answer-field --strict --no-strict" ;;
        "train") words="--help --model --data --out --revision --tags-as-text --no-tags-as-text --shift --block-size --chat-template-kwargs --canvas --paths --path-tokens --summary-tokens --tags --after-end --attention --positions --weight --normalise --masking --times --power --kappa --objective --corrupt --epochs --steps --batch-size --rows --learning-rate --warmup --weight-decay --clip --optimizer --matrix-learning-rate --lora --dtype --checkpointing --no-checkpointing --fsdp --no-fsdp --shuffle-paths --no-shuffle-paths --seed --save-every --log-every --report-to --eval-task --eval-data --eval-every --eval-problems --eval-policy --eval-tokens-per-step" ;;
        "vote") words="--help --models --task --canvases --policy --tokens-per-step --problems --split --data --stitch --judge-problems --solver --json --no-json --canvas --paths --path-tokens --summary-tokens --tags --after-end --attention --positions --raw --no-raw --system --prompt-template --examples --shots --examples-as --chat-template-kwargs --temperature --top-p --top-k --guidance --eos --seed --device --dtype --revision --mask-id --shift --block-size --int8 --compile --no-compile --trust-remote-code --no-trust-remote-code" ;;
        "trace show") words="--help --index --step" ;;
        "trace explain") words="--help --model --index --limit --samples --enumerate --seed --out --device --dtype --revision --mask-id --shift --block-size --int8 --compile --no-compile --trust-remote-code --no-trust-remote-code" ;;
        "trace convert") words="--help" ;;
        "trace import") words="--help --source --tokenizer --mask-id --prompt-tokens --model --policy" ;;
    esac
    [[ $COMP_CWORD == 1 ]] && words="curate decode eval doctor leaderboard order report score serve seqdep anticipate problems train vote trace --help --version"
    [[ $COMP_CWORD == 2 && ${COMP_WORDS[1]} == trace ]] && words="show explain convert import"
    [[ $COMP_CWORD == 2 && ${COMP_WORDS[1]} == seqdep ]] && words="filter $words"
    COMPREPLY=($(compgen -W "$words" -- "$here"))
}
complete -o default -F _nap nap
