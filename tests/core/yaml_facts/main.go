package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	kjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		var text string
		if err := json.Unmarshal(in.Bytes(), &text); err != nil {
			panic(err)
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					fmt.Fprintln(out, "panic")
				}
			}()
			j, err := yaml.YAMLToJSONStrict([]byte(text))
			if err != nil {
				b, _ := json.Marshal("error: " + err.Error())
				fmt.Fprintln(out, string(b))
				return
			}
			var v interface{}
			if err := kjson.Unmarshal(j, &v); err != nil {
				b, _ := json.Marshal("error: " + err.Error())
				fmt.Fprintln(out, string(b))
				return
			}
			b, _ := json.Marshal(map[string]interface{}{"v": v})
			fmt.Fprintln(out, string(b))
		}()
	}
}
